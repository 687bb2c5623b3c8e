// Command testreport runs `go test -json …` and says what came of it.
//
//	testreport [-json FILE] [-summary FILE] [-no-skips] go test -json ARGS…
//
// It prints the output of what failed, the reason of what was skipped, one
// line a package, and last, alone on a line, "N passed, N failed". A test with
// subtests counts as its subtests; a package that does not build, panics or
// leaks counts as one failure. It exits 1 when something failed, when no test
// ran at all, and, with -no-skips, when a test was skipped (each then counts
// as failed). A package without test files is named and is no skip.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ok, err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (ok bool, err error) {
	flags := flag.NewFlagSet("testreport", flag.ContinueOnError)
	flags.SetOutput(stderr)
	jsonPath := flags.String("json", "", "keep the raw events in this `FILE`")
	summaryPath := flags.String("summary", "", "write the last line to this `FILE` too")
	noSkips := flags.Bool("no-skips", false, "a skipped test is a failure")
	if err := flags.Parse(args); err != nil {
		return false, err
	}
	if flags.NArg() == 0 {
		return false, errors.New("give the command that writes the events, such as go test -json and its packages")
	}
	raw := io.Discard
	if *jsonPath != "" {
		f, err := os.Create(*jsonPath)
		if err != nil {
			return false, fmt.Errorf("keep the raw events: %w", err)
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		raw = f
	}

	rep := newReport(stdout)
	cmd := exec.CommandContext(ctx, flags.Arg(0), flags.Args()[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Stderr = stderr
	events, err := cmd.StdoutPipe()
	if err != nil {
		return false, fmt.Errorf("read the test's output: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return false, fmt.Errorf("start the tests: %w", err)
	}
	readErr := rep.read(io.TeeReader(events, raw))
	waitErr := cmd.Wait()

	line, ok := rep.finish(*noSkips, waitErr)
	if *summaryPath != "" {
		if err := os.WriteFile(*summaryPath, []byte(line+"\n"), 0o644); err != nil {
			readErr = errors.Join(readErr, fmt.Errorf("write the summary: %w", err))
		}
	}
	fmt.Fprintln(stdout, line)
	return ok, readErr
}

// event is one line of `go test -json`: see `go doc test2json`, and
// `go help buildjson` for build-output and build-fail.
type event struct {
	Action     string
	Package    string
	ImportPath string // of build events
	Test       string
	Elapsed    float64 // seconds
	Output     string
}

func (r *report) read(events io.Reader) error {
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var ev event
			if json.Unmarshal(line, &ev) == nil && ev.Action != "" {
				r.event(&ev)
			} else {
				// Not an event: the go command had something to say.
				fmt.Fprintf(r.out, "%s", line)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the test's output: %w", err)
		}
	}
}
