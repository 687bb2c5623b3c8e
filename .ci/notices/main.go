// Command notices prints the licences and notices of all that is linked into a
// program, which must be passed on with it: of Go itself, and of each module. A
// module without a licence is an error.
//
//	go run ./.ci/notices bin/parley
package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := errors.New("give one argument, the program")
	if len(os.Args) == 2 {
		err = run(ctx, os.Stdout, os.Args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "notices:", err)
		os.Exit(1) //nolint:gocritic // stop has nothing to undo
	}
}

// module is what is linked, and where its files are.
type module struct{ Path, Version, Dir string }

func run(ctx context.Context, w io.Writer, program string) error {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return err
	}
	return write(ctx, w, info)
}

func write(ctx context.Context, w io.Writer, info *buildinfo.BuildInfo) error {
	var env struct{ GOROOT string }
	if err := query(ctx, &env, "env", "-json", "GOROOT"); err != nil {
		return err
	}
	modules := []module{{Path: "Go", Version: info.GoVersion, Dir: env.GOROOT}}
	for _, dep := range info.Deps {
		if dep.Replace != nil {
			dep = dep.Replace
		}
		m := module{}
		if err := query(ctx, &m, "mod", "download", "-json", dep.Path+"@"+dep.Version); err != nil {
			return err
		}
		modules = append(modules, m)
	}
	for _, m := range modules {
		text, err := notices(m.Dir)
		if err != nil {
			return fmt.Errorf("%s %s: %w", m.Path, m.Version, err)
		}
		if _, err := fmt.Fprintf(w, "=== %s %s\n\n%s\n\n", m.Path, m.Version, text); err != nil {
			return err
		}
	}
	return nil
}

// named are the files that a module's terms stand in.
var named = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|copyright|patents)([-._].*)?$`)

// notices reads the files at a module's root that its terms stand in.
func notices(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var texts []string
	for _, e := range entries {
		if e.IsDir() || !named.MatchString(e.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return "", err
		}
		texts = append(texts, strings.TrimSpace(string(text)))
	}
	if len(texts) == 0 {
		return "", fmt.Errorf("no licence in %s: it can't be shipped", dir)
	}
	return strings.Join(texts, "\n\n"), nil
}

// query asks the go command for JSON.
func query(ctx context.Context, answer any, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("go %s: %w: %s%s", strings.Join(args, " "), err, out, errs.String())
	}
	return json.Unmarshal(out, answer)
}
