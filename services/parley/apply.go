package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/parleyhq/parley/services/ops"
)

// applyTimeout bounds a call that applies: the ops API takes 10 minutes at most.
const applyTimeout = 11 * time.Minute

// applyFlags say what is declared and how it is applied.
type applyFlags struct {
	files    []string
	prune    string
	takeOver bool
	dryRun   bool
	diff     bool
	yes      bool
}

func newApplyCommand(c *clientConfig) *cobra.Command {
	var f applyFlags
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Make channels, endpoints, bots and tokens what a file declares",
		Long: "Make channels, endpoints, bots and tokens what a file declares. It shows what it would change, asks on a terminal,\n" +
			"and changes it; run again, it changes nothing. docs/apply.md has the form of the file.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(c, cmd) },
	}
	c.bind(cmd)
	fs := cmd.Flags()
	fs.StringArrayVarP(&f.files, "filename", "f", nil, "`FILE` or directory of YAML, or - for the input; may be repeated")
	fs.StringVar(&f.prune, "prune", "", "`WHAT` is deleted that is not declared: owned (what this owner's files declared before) or all")
	fs.BoolVar(&f.takeOver, "take-over", false, "take objects that another owner manages")
	fs.BoolVar(&f.dryRun, "dry-run", false, "show what would be changed, and change nothing")
	fs.BoolVar(&f.diff, "diff", false, fmt.Sprintf("--dry-run that exits with %d where something would be changed", exitDiffers))
	fs.BoolVarP(&f.yes, "yes", "y", false, "don't ask")
	if err := cmd.MarkFlagRequired("filename"); err != nil {
		panic(err)
	}
	return cmd
}

// differs ends a --diff that found something.
type differs int

func (n differs) Error() string { return fmt.Sprintf("%d objects are not as declared", int(n)) }

func (f *applyFlags) run(c *clientConfig, cmd *cobra.Command) error {
	d, err := readDeclared(f.files, cmd.InOrStdin(), os.LookupEnv)
	if err != nil {
		return fmt.Errorf("the declaration has mistakes:\n%w", err)
	}
	o, err := c.client()
	if err != nil {
		return err
	}
	o.http.Timeout = applyTimeout
	plan, err := f.call(cmd, o, d, ops.ApplyRequest{DryRun: true})
	if err != nil {
		return err
	}
	dry := f.dryRun || f.diff
	if !c.JSON || dry {
		if err := show(c, cmd, *plan, printPlan); err != nil {
			return err
		}
	}
	switch {
	case f.diff && len(plan.Changes) > 0:
		return differs(len(plan.Changes))
	case dry, len(plan.Changes) == 0 && !c.JSON:
		return nil
	case len(plan.Changes) > 0 && !f.agreed(cmd):
		return errors.New("nothing was changed")
	}
	done, err := f.call(cmd, o, d, ops.ApplyRequest{Plan: plan.Plan})
	if err != nil {
		return err
	}
	if err := show(c, cmd, *done, printApplied); err != nil {
		return err
	}
	if done.Error != "" {
		return fmt.Errorf("not all was changed: %s; run it again for the rest", done.Error)
	}
	return nil
}

func (f *applyFlags) call(cmd *cobra.Command, o *opsClient, d *declared, r ops.ApplyRequest) (*ops.Applied, error) {
	r.Declaration, r.Prune, r.TakeOver = d.Declaration, ops.Prune(f.prune), f.takeOver
	var out ops.Applied
	_, err := o.do(cmd.Context(), opsCall{method: http.MethodPost, path: "/apply", body: r}, &out)
	if answer, ok := errors.AsType[*answerError](err); ok && len(answer.Errors) > 0 {
		return nil, fmt.Errorf("the declaration has mistakes:\n%w", d.located(answer.Errors))
	}
	return &out, err
}

// agreed asks where somebody can answer; a pipeline has said so by running it.
func (f *applyFlags) agreed(cmd *cobra.Command) bool {
	in, ok := cmd.InOrStdin().(*os.File)
	if f.yes || !ok || !isatty.IsTerminal(in.Fd()) {
		return true
	}
	fmt.Fprint(cmd.ErrOrStderr(), "Change this? [y/N] ")
	answer, _ := bufio.NewReader(in).ReadString('\n')
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes"
}

func printPlan(w io.Writer, a ops.Applied) {
	for _, c := range a.Changes {
		fmt.Fprintln(w, map[string]string{ops.ChangeCreate: "+", ops.ChangeUpdate: "~", ops.ChangeDelete: "-"}[c.Action], c.Action, string(c.Kind), printable(c.ID))
		for _, field := range c.Fields {
			fmt.Fprintf(w, "    %s: %s\n", field.Field, changedText(field))
		}
		if c.Parked > 0 {
			fmt.Fprintf(w, "    %d messages wait for it and become dead letters (endpoint_removed)\n", c.Parked)
		}
	}
	fmt.Fprintf(w, "%d to change, %d as declared\n", len(a.Changes), a.Unchanged)
}

func changedText(f ops.FieldChange) string {
	from, to := printable(f.From), printable(f.To)
	switch {
	case f.Secret && from != "" && to != "":
		return "another secret"
	case from == "":
		return to
	case to == "":
		return from + " -> (not set)"
	}
	return from + " -> " + to
}

func printApplied(w io.Writer, a ops.Applied) {
	done := 0
	for _, c := range a.Changes {
		if !c.Done {
			fmt.Fprintln(w, "not done:", c.Action, string(c.Kind), printable(c.ID))
			continue
		}
		done++
		for _, secret := range c.Secrets {
			fmt.Fprintf(w, "signing secret of %s %s\t%s  (keep it: it is not shown again)\n", c.Kind, c.ID, secret)
		}
		if c.Token != "" {
			fmt.Fprintf(w, "token %s\t%s  (keep it: it is not shown again)\n", c.ID, c.Token)
		}
	}
	fmt.Fprintf(w, "%d changed (revision %d)\n", done, a.Revision)
}
