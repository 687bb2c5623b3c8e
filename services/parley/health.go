package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func newHealthCommand() *cobra.Command {
	var url string
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask a process whether it is ready; exit code 0 if it is, 1 if not",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return runHealth(cmd, url) },
	}
	cmd.Flags().StringVar(&url, "url", "http://127.0.0.1:8081/readyz", "`URL` of /readyz or /livez")
	return cmd
}

// healthTimeout is below the time that probes are given.
const healthTimeout = 2500 * time.Millisecond

func runHealth(cmd *cobra.Command, url string) error {
	req, err := http.NewRequestWithContext(cmd.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		return fmt.Errorf("--url: %w", err)
	}
	client := &http.Client{Timeout: healthTimeout, CheckRedirect: noRedirect}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("not ready: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("not ready: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s answered %s: %s", url, resp.Status, printable(strings.TrimSpace(string(body))))
	}
	word := "ready"
	if bytes.Contains(body, []byte(`"status":"degraded"`)) {
		word = "ready, degraded: " + printable(strings.TrimSpace(string(body)))
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), word)
	return err
}
