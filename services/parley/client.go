package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/services/ops"
)

// clientConfig is how the commands that configure and watch reach the ops API.
type clientConfig struct {
	OpsURL   string
	OpsToken string
	DataDir  string
	JSON     bool
}

// bind adds the flags to a command and those below it.
func (c *clientConfig) bind(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.StringVar(&c.OpsURL, "ops-url", "http://127.0.0.1:8081", "`URL` of the admin server, which has the ops API")
	f.StringVar(&c.OpsToken, "ops-token", "", "`TOKEN` of the ops API; without it the one in the data directory")
	f.StringVar(&c.DataDir, "data-dir", defaultDataDir(), "`DIRECTORY` of a serve on this machine, with its ops token")
	f.BoolVar(&c.JSON, "json", false, "print JSON instead of a table")
	markSecret(f, "ops-token")
	markDefault(f, "data-dir", defaultDataDirText)
}

// opsClient calls the ops API.
type opsClient struct {
	base  string
	token chat.Secret
	http  *http.Client
}

// clientTimeout bounds one call.
const clientTimeout = 30 * time.Second

func (c *clientConfig) client() (*opsClient, error) {
	u, err := url.Parse(c.OpsURL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("--ops-url %q is no URL: write it like http://127.0.0.1:8081", c.OpsURL)
	}
	token := c.OpsToken
	if token == "" {
		path := filepath.Join(c.DataDir, opsTokenFile)
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("there is no ops token: give --ops-token (or %s), or the --data-dir of a running serve: %w", envName("ops-token"), err)
		}
		token = strings.TrimSpace(string(text))
	}
	return &opsClient{
		base: strings.TrimRight(c.OpsURL, "/") + ops.Root, token: chat.Secret(token),
		http: &http.Client{Timeout: clientTimeout, CheckRedirect: noRedirect},
	}, nil
}

// opsCall is one call of the API.
type opsCall struct {
	method, path string
	body         any    // sent as JSON, unless nil
	ifMatch      string // an ETag, or empty
}

// do calls the API, reads the answer into v and returns its ETag. An answer
// that says no is an *answerError.
func (o *opsClient) do(ctx context.Context, c opsCall, v any) (etag string, err error) {
	var body io.Reader = http.NoBody
	if c.body != nil {
		data, err := json.Marshal(c.body)
		if err != nil {
			return "", fmt.Errorf("the request: %w", err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, c.method, o.base+c.path, body)
	if err != nil {
		return "", fmt.Errorf("the request: %w", err)
	}
	if c.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.ifMatch != "" {
		req.Header.Set("If-Match", c.ifMatch)
	}
	req.Header.Set("Authorization", "Bearer "+o.token.Reveal())
	req.Header.Set("User-Agent", "parley-cli/"+version)
	resp, err := o.http.Do(req)
	if err != nil {
		return "", fmt.Errorf("the ops API can't be reached: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	return resp.Header.Get("ETag"), readAnswer(resp, v)
}

// maxOpsAnswer bounds what is read of an answer, in bytes: a long list.
const maxOpsAnswer = 64 << 20

func readAnswer(resp *http.Response, v any) error {
	got, err := io.ReadAll(io.LimitReader(resp.Body, maxOpsAnswer+1))
	if err != nil {
		return fmt.Errorf("reading the answer of the ops API: %w", err)
	}
	if len(got) > maxOpsAnswer {
		return errors.New("the answer of the ops API is too long to be read")
	}
	if resp.StatusCode/100 != 2 {
		return newAnswerError(resp, got)
	}
	if err := json.Unmarshal(got, v); err != nil {
		return fmt.Errorf("the answer of the ops API can't be read (is --ops-url right?): %w", err)
	}
	return nil
}

// run is a command's run with a client.
func (c *clientConfig) run(do func(cmd *cobra.Command, o *opsClient, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		o, err := c.client()
		if err != nil {
			return err
		}
		return do(cmd, o, args)
	}
}

// call makes a call and prints the answer: as JSON, or as write does.
func call[T any](c *clientConfig, cmd *cobra.Command, o *opsClient, what opsCall, write func(w io.Writer, v T)) error {
	var v T
	if _, err := o.do(cmd.Context(), what, &v); err != nil {
		return err
	}
	return show(c, cmd, v, write)
}

// show prints an answer. Columns are separated by tabs.
func show[T any](c *clientConfig, cmd *cobra.Command, v T, write func(w io.Writer, v T)) error {
	if c.JSON {
		enc := json.NewEncoder(cmd.OutOrStdout())
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	write(w, v)
	return w.Flush()
}

// newGroup makes a command whose subcommands call the ops API.
func (c *clientConfig) newGroup(use, short string, commands ...*cobra.Command) *cobra.Command {
	group := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	c.bind(group)
	group.AddCommand(commands...)
	return group
}

// newDelete makes the command that deletes an object.
func (c *clientConfig) newDelete(kind, collection string) *cobra.Command {
	return &cobra.Command{
		Use: "delete ID", Short: "Delete " + kind, Args: cobra.ExactArgs(1),
		RunE: c.run(func(cmd *cobra.Command, o *opsClient, args []string) error {
			return call(c, cmd, o, opsCall{method: http.MethodDelete, path: collection + "/" + url.PathEscape(args[0])},
				func(w io.Writer, d ops.Deleted) { fmt.Fprintf(w, "deleted %s (revision %d)\n", d.ID, d.Revision) })
		}),
	}
}

// newList makes the command that lists a collection: a head, and a line for
// each object.
func newList[T any](c *clientConfig, short, collection, head string, line func(T) []any) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: short, Args: cobra.NoArgs,
		RunE: c.run(func(cmd *cobra.Command, o *opsClient, _ []string) error {
			return call(c, cmd, o, opsCall{method: http.MethodGet, path: collection}, tableOf(head, line))
		}),
	}
}

func tableOf[T any](head string, line func(T) []any) func(io.Writer, ops.List[T]) {
	return func(w io.Writer, list ops.List[T]) {
		fmt.Fprintln(w, head)
		for _, item := range list.Items {
			row(w, line(item)...)
		}
	}
}

// row prints a line of a table; texts from outside lose what is no graphic
// character, and an empty cell is a dash.
func row(w io.Writer, cells ...any) {
	texts := make([]string, len(cells))
	for i, cell := range cells {
		if texts[i] = printable(fmt.Sprint(cell)); texts[i] == "" {
			texts[i] = "-"
		}
	}
	fmt.Fprintln(w, strings.Join(texts, "\t"))
}

// field prints a name and a value, unless that is empty.
func field(w io.Writer, name string, value any) {
	if text := fmt.Sprint(value); text != "" && text != "0" {
		row(w, name, value)
	}
}
