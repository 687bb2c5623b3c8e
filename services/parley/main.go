package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// The exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
	// exitDiffers says that what is configured isn't what is declared.
	exitDiffers = 3
	exitSignal  = 128 // and the signal's number
)

func main() {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	ctx, stop := untilSignal(context.Background(), signals, os.Exit)
	b := &binder{environ: os.Environ(), readFile: os.ReadFile, warnings: os.Stderr}
	code := run(ctx, newRoot(b), b, os.Args[1:], os.Stderr)
	stop()
	os.Exit(code)
}

// run executes a command line and returns the exit code.
func run(ctx context.Context, root *cobra.Command, b *binder, args []string, stderr io.Writer) int {
	begun := false
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if !bindsItself(cmd) {
			if err := b.bind(cmd); err != nil {
				return err
			}
		}
		if err := cmd.ValidateRequiredFlags(); err != nil {
			return err
		}
		if err := cmd.ValidateFlagGroups(); err != nil {
			return err
		}
		begun = true
		return nil
	}
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	var sig *signalError
	if errors.As(context.Cause(ctx), &sig) && errors.Is(err, context.Canceled) {
		fmt.Fprintf(stderr, "parley: stopped by %s\n", sig.name())
		return exitSignal + int(sig.signal)
	}
	many, ok := errors.AsType[faults](err)
	if !ok {
		many = faults{err}
	}
	for _, one := range many {
		fmt.Fprintf(stderr, "parley: %v\n", one)
	}
	if _, ok := errors.AsType[differs](err); ok {
		return exitDiffers
	}
	if _, usage := errors.AsType[*usageError](err); usage || !begun {
		fmt.Fprintln(stderr, "parley: `parley help` and `parley help COMMAND` say what there is")
		return exitUsage
	}
	return exitFailed
}

// usageError is a command line that a command finds wrong once it runs.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }

func (e *usageError) Unwrap() error { return e.err }

// signalError is why the context of an interrupted command ended. It is a
// context.Canceled, so that whoever tells cancelling from failing still can.
type signalError struct{ signal syscall.Signal }

func (e *signalError) Error() string { return "stopped by " + e.name() }

func (e *signalError) Unwrap() error { return context.Canceled }

func (e *signalError) name() string {
	switch e.signal {
	case syscall.SIGINT:
		return "SIGINT"
	case syscall.SIGTERM:
		return "SIGTERM"
	}
	return e.signal.String()
}

// untilSignal returns a context that the first signal ends; the second one
// exits at once. stop ends the watching.
func untilSignal(parent context.Context, signals <-chan os.Signal, exit func(int)) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	done := make(chan struct{})
	go func() {
		for first := true; ; first = false {
			select {
			case <-done:
				return
			case s := <-signals:
				sig, ok := s.(syscall.Signal)
				if !ok {
					sig = syscall.SIGTERM
				}
				if !first {
					exit(exitSignal + int(sig))
					return
				}
				cancel(&signalError{sig})
			}
		}
	}()
	return ctx, func() { close(done); cancel(nil) }
}
