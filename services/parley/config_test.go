package main

import (
	"bytes"
	"errors"
	"io/fs"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// bound is what the flags of the test's command were bound to.
type bound struct {
	addr  string
	count int
	list  []string
	token string
	dry   bool
}

func testTree(got *bound) *cobra.Command {
	root := &cobra.Command{Use: "parley", SilenceErrors: true, SilenceUsage: true}
	root.PersistentFlags().String(configFlag, "", "")
	cmd := &cobra.Command{Use: "go", RunE: func(*cobra.Command, []string) error { return nil }}
	f := cmd.Flags()
	f.StringVar(&got.addr, "public-addr", "default", "")
	f.IntVar(&got.count, "count", 1, "")
	f.StringSliceVar(&got.list, "list", []string{"d"}, "")
	f.StringVar(&got.token, "ops-token", "", "")
	f.BoolVar(&got.dry, "dry-run", false, "")
	markSecret(f, "ops-token")
	other := &cobra.Command{Use: "other", RunE: func(*cobra.Command, []string) error { return nil }}
	other.Flags().String("elsewhere", "", "")
	root.AddCommand(cmd, other)
	return root
}

func TestBinding(t *testing.T) {
	defaults := bound{addr: "default", count: 1, list: []string{"d"}}
	with := func(change func(*bound)) bound {
		b := defaults
		change(&b)
		return b
	}
	for name, tc := range map[string]struct {
		args, env []string
		files     map[string]string
		want      bound
	}{
		"defaults": {want: defaults},
		"flag over environment over file": {
			args:  []string{"--config", "c.yaml", "--public-addr", "flag"},
			env:   []string{"PARLEY_PUBLIC_ADDR=env", "PARLEY_COUNT=2"},
			files: map[string]string{"c.yaml": "public-addr: file\ncount: 3\ndry-run: true\n"},
			want:  with(func(b *bound) { b.addr, b.count, b.dry = "flag", 2, true }),
		},
		"the file named by the environment": {
			env:   []string{"PARLEY_CONFIG=c.yaml"},
			files: map[string]string{"c.yaml": "count: 3"},
			want:  with(func(b *bound) { b.count = 3 }),
		},
		"the file named by a flag wins over the environment's": {
			args:  []string{"--config=a"},
			env:   []string{"PARLEY_CONFIG=b"},
			files: map[string]string{"a": "count: 3"},
			want:  with(func(b *bound) { b.count = 3 }),
		},
		"an empty variable is unset": {
			env: []string{"PARLEY_COUNT=", "PARLEY_PUBLIC_ADDR="}, want: defaults,
		},
		"a flag set to its default still wins": {
			args: []string{"--count", "1"}, env: []string{"PARLEY_COUNT=2"}, want: defaults,
		},
		"lists": {
			args: []string{"--config", "c"}, files: map[string]string{"c": "list: [a, \"b,c\"]"},
			want: with(func(b *bound) { b.list = []string{"a", "b,c"} }),
		},
		"an empty list": {
			args: []string{"--config", "c"}, files: map[string]string{"c": "list: []"},
			want: with(func(b *bound) { b.list = []string{} }),
		},
		"a list in the environment": {
			env: []string{"PARLEY_LIST=a,b"}, want: with(func(b *bound) { b.list = []string{"a", "b"} }),
		},
		"a secret's file": {
			env: []string{"PARLEY_OPS_TOKEN_FILE=/run/token"}, files: map[string]string{"/run/token": "s3cret\n"},
			want: with(func(b *bound) { b.token = "s3cret" }),
		},
		"another command's key": {
			args: []string{"--config", "c"}, env: []string{"PARLEY_ELSEWHERE=x"},
			files: map[string]string{"c": "elsewhere: y"}, want: defaults,
		},
		"an empty file": {args: []string{"--config", "c"}, files: map[string]string{"c": "# nothing\n"}, want: defaults},
	} {
		t.Run(name, func(t *testing.T) {
			var got bound
			code, stderr := bindTest(t, &got, tc.args, tc.env, tc.files)
			require.Equal(t, exitOK, code, stderr)
			require.Equal(t, tc.want, got)
			require.Empty(t, stderr)
		})
	}
}

func TestBindingErrorsNameTheSource(t *testing.T) {
	for name, tc := range map[string]struct {
		env  []string
		file string
		want string
	}{
		"environment":          {env: []string{"PARLEY_COUNT=x"}, want: "environment PARLEY_COUNT: not a value that --count (int) takes"},
		"file value":           {file: "\ncount: x", want: "c.yaml:2: count: not a value that --count (int) takes"},
		"file key":             {file: "count: 1\nconut: 1", want: "c.yaml:2: conut is no flag of any command"},
		"file key twice":       {file: "count: 1\ncount: 2", want: "c.yaml:2: count stands there twice"},
		"config in the file":   {file: "config: other.yaml", want: "c.yaml:1: config is no flag"},
		"help in the file":     {file: "help: true", want: "c.yaml:1: help is no flag"},
		"nested":               {file: "count: {a: 1}", want: "c.yaml:1: count: is a mapping"},
		"nested list":          {file: "list:\n  - [a]", want: "c.yaml:1: list: line 2: a list holds plain values only"},
		"list for a value":     {file: "count: [1, 2]", want: "takes one value, not a list of 2"},
		"no value":             {file: "count:", want: "c.yaml:1: count: has no value"},
		"no mapping":           {file: "- count", want: "c.yaml:1: the file must be a mapping"},
		"no YAML":              {file: "count: [", want: "c.yaml: "},
		"missing secret file":  {env: []string{"PARLEY_OPS_TOKEN_FILE=/nowhere"}, want: "environment PARLEY_OPS_TOKEN_FILE: "},
		"secret given twice":   {env: []string{"PARLEY_OPS_TOKEN_FILE=/x", "PARLEY_OPS_TOKEN=y"}, want: "PARLEY_OPS_TOKEN and PARLEY_OPS_TOKEN_FILE are both set"},
		"missing config file":  {env: []string{"PARLEY_CONFIG=/nowhere"}, want: "environment PARLEY_CONFIG: "},
		"file for a no-secret": {env: []string{"PARLEY_COUNT_FILE=/x", "PARLEY_COUNT=x"}, want: "environment PARLEY_COUNT: "},
	} {
		t.Run(name, func(t *testing.T) {
			args, files := []string{}, map[string]string{}
			if tc.file != "" {
				args, files = []string{"--config", "c.yaml"}, map[string]string{"c.yaml": tc.file}
			}
			code, stderr := bindTest(t, &bound{}, args, tc.env, files)
			require.Equal(t, exitUsage, code)
			require.Contains(t, stderr, tc.want)
		})
	}
}

func TestUnknownVariablesAreWarnedOf(t *testing.T) {
	for variable, want := range map[string]string{
		"PARLEY_CUONT=1":                         "PARLEY_CUONT is no flag of any command: did you mean PARLEY_COUNT?",
		"PARLEY_SOMETHING=1":                     "PARLEY_SOMETHING is no flag of any command\n",
		"PARLEY_COUNT_FILE=x":                    "PARLEY_COUNT_FILE is no flag of any command",
		"PARLEY_PORT=tcp://10.0.0.1:80":          "",
		"PARLEY_INGEST_SERVICE_HOST=10.0.0.1":    "",
		"PARLEY_PORT_8080_TCP_ADDR=10.0.0.1":     "",
		"PARLEY_INGEST_SERVICE_PORT_PUBLIC=8080": "",
		"OTHER=1":                                "",
	} {
		t.Run(variable, func(t *testing.T) {
			code, stderr := bindTest(t, &bound{}, nil, []string{variable}, nil)
			require.Equal(t, exitOK, code)
			require.Contains(t, stderr, want)
			require.Equal(t, want == "", stderr == "", stderr)
		})
	}
}

func TestSecretsStayOutOfErrors(t *testing.T) {
	root := testTree(&bound{})
	cmd, _, err := root.Find([]string{"go"})
	require.NoError(t, err)
	cmd.Flags().Int("pin", 0, "")
	markSecret(cmd.Flags(), "pin")
	var stderr bytes.Buffer
	b := &binder{environ: []string{"PARLEY_PIN=hunter2"}, warnings: &stderr}
	require.Equal(t, exitUsage, run(t.Context(), root, b, []string{"go"}, &stderr))
	require.Contains(t, stderr.String(), "environment PARLEY_PIN")
	require.NotContains(t, stderr.String(), "hunter2")
}

func bindTest(t *testing.T, got *bound, args, env []string, files map[string]string) (code int, stderr string) {
	t.Helper()
	var errs bytes.Buffer
	b := &binder{environ: env, warnings: &errs, readFile: func(path string) ([]byte, error) {
		if data, ok := files[path]; ok {
			return []byte(data), nil
		}
		return nil, &fs.PathError{Op: "open", Path: path, Err: errors.New("no such file")}
	}}
	root := testTree(got)
	root.SetOut(&errs)
	code = run(t.Context(), root, b, append([]string{"go"}, args...), &errs)
	return code, errs.String()
}
