package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// report gathers what the events say. Its maps are keyed by package, then by
// test; the test "" is the package itself.
type report struct {
	out      io.Writer
	results  map[string]map[string]string // "pass", "fail", "skip"
	output   map[string]map[string]*strings.Builder
	untested []string // packages without test files
	seconds  float64  // sum over packages
}

func newReport(out io.Writer) *report {
	return &report{
		out:     out,
		results: map[string]map[string]string{},
		output:  map[string]map[string]*strings.Builder{},
	}
}

func (r *report) event(ev *event) {
	switch ev.Action {
	case "build-output":
		fmt.Fprint(r.out, ev.Output)
	case "output":
		r.keep(ev)
	case "pass", "fail", "skip":
		r.settle(ev)
	}
}

func (r *report) keep(ev *event) {
	tests := r.output[ev.Package]
	if tests == nil {
		tests = map[string]*strings.Builder{}
		r.output[ev.Package] = tests
	}
	if tests[ev.Test] == nil {
		tests[ev.Test] = &strings.Builder{}
	}
	tests[ev.Test].WriteString(ev.Output)
}

func (r *report) settle(ev *event) {
	if ev.Test == "" && ev.Action == "skip" {
		r.untested = append(r.untested, ev.Package)
		delete(r.output, ev.Package)
		return
	}
	if r.results[ev.Package] == nil {
		r.results[ev.Package] = map[string]string{}
	}
	r.results[ev.Package][ev.Test] = ev.Action
	if ev.Action != "pass" {
		r.print(ev.Package, ev.Test)
	}
	if ev.Test == "" {
		r.seconds += ev.Elapsed
		fmt.Fprintf(r.out, "%-4s  %7.2fs  %s\n", ev.Action, ev.Elapsed, ev.Package)
		delete(r.output, ev.Package)
	} else if tests := r.output[ev.Package]; tests != nil {
		delete(tests, ev.Test)
	}
}

// print shows what a test that failed or was skipped had written.
func (r *report) print(pkg, test string) {
	if text := r.output[pkg][test]; text != nil {
		fmt.Fprint(r.out, text.String())
	}
}

// finish prints what remains to be said, and returns the last line and whether
// all is well. runErr is how the command ended.
func (r *report) finish(noSkips bool, runErr error) (line string, ok bool) {
	var passed, failed int
	var skipped []string
	for pkg, tests := range r.results {
		p, f, s := count(tests)
		passed, failed = passed+p, failed+f
		for _, test := range s {
			skipped = append(skipped, pkg+" "+test)
		}
	}
	r.list("no test files", r.untested)
	r.list("skipped", skipped)
	fmt.Fprintf(r.out, "%d packages, %.0f s of tests\n", len(r.results), r.seconds)
	if noSkips && len(skipped) > 0 {
		fmt.Fprintln(r.out, "a skipped test counts as failed here")
		failed += len(skipped)
	}
	if runErr != nil && failed == 0 {
		fmt.Fprintln(r.out, "the tests did not run to their end:", runErr)
		failed = 1
	}
	if passed+failed == 0 {
		fmt.Fprintln(r.out, "no test ran")
		return "0 passed, 0 failed", false
	}
	return fmt.Sprintf("%d passed, %d failed", passed, failed), failed == 0
}

func (r *report) list(title string, names []string) {
	for _, name := range slices.Sorted(slices.Values(names)) {
		fmt.Fprintf(r.out, "%s: %s\n", title, name)
	}
}

// count counts one package's tests. A parent counts only for what its
// subtests don't explain, and so does the package.
func count(tests map[string]string) (passed, failed int, skipped []string) {
	parents := map[string]bool{} // of any subtest
	blamed := map[string]bool{}  // failed because a subtest failed
	for test, result := range tests {
		for parent := range ancestors(test) {
			parents[parent] = true
			blamed[parent] = blamed[parent] || result == "fail"
		}
	}
	for _, test := range slices.Sorted(maps.Keys(tests)) {
		switch {
		case tests[test] == "fail" && !blamed[test]:
			failed++
		case tests[test] == "skip":
			skipped = append(skipped, test)
		case tests[test] == "pass" && !parents[test] && test != "":
			passed++
		}
	}
	return passed, failed, skipped
}

// ancestors yields the tests that test is a part of, and the package ("").
func ancestors(test string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for test != "" {
			i := max(strings.LastIndexByte(test, '/'), 0)
			test = test[:i]
			if !yield(test) {
				return
			}
		}
	}
}
