package compose

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
	"github.com/stretchr/testify/require"
)

// The image's rules: built in one stage and run in another, from pinned images,
// without root and without a shell, the binary as its entry point.
func TestDockerfile(t *testing.T) {
	stages := readDockerfile(t)
	require.Len(t, stages, 2, "the compiler stays out of the image")
	for _, s := range stages {
		requirePinned(t, s.image)
		require.Empty(t, s.all("ADD"), "COPY says what ADD guesses")
		require.Empty(t, s.all("MAINTAINER"), "a label says it")
		for _, dir := range s.all("WORKDIR") {
			require.True(t, strings.HasPrefix(dir, "/"), "WORKDIR %s depends on what stands above", dir)
		}
		for _, run := range s.all("RUN") {
			require.NotRegexp(t, `\b(sudo|apt|apt-get|apk|curl|wget)\b|(^|\s)cd\s`, run, "nothing is fetched that isn't pinned")
			require.NotRegexp(t, `[^|]\|[^|]`, run, "a pipe hides that its beginning failed")
		}
		for _, set := range append(s.all("ARG"), s.all("ENV")...) {
			require.NotRegexp(t, `(?i)token|secret|password|_key`, set, "an image keeps what it was built with")
		}
	}

	build := stages[0]
	mod, err := os.ReadFile(path("go.mod"))
	require.NoError(t, err)
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(mod)
	require.NotNil(t, version)
	require.Regexp(t, `^golang:`+regexp.QuoteMeta(string(version[1]))+`\.\d+-`, build.image, "go.mod's Go")

	image := stages[1]
	require.Contains(t, image.image, "@sha256:", "the tags of a base image move")
	require.Equal(t, []string{"65532:65532"}, image.all("USER"))
	require.Equal(t, []string{`["/parley"]`}, image.all("ENTRYPOINT"))
	require.Empty(t, image.all("RUN"), "the image has no shell")
	for _, copied := range image.all("COPY") {
		require.Regexp(t, `^--from=build `, copied)
	}
	labels := strings.Join(image.all("LABEL"), " ")
	for _, label := range []string{"title", "description", "source", "licenses", "version", "revision"} {
		require.Regexp(t, `org\.opencontainers\.image\.`+label+`="[^"]+"`, labels)
	}
}

// The same source is the same binary, wherever it lies and whatever lies around
// it. It needs no more than .dockerignore lets through.
func TestBinaryIsReproducible(t *testing.T) {
	first, second := t.TempDir(), filepath.Join(t.TempDir(), "elsewhere")
	copyContext(t, first)
	copyContext(t, second)
	for _, args := range [][]string{ // Go would stamp the binary with a commit
		{"init", "--quiet"},
		{"add", "go.mod"},
		{"-c", "user.name=somebody", "-c", "user.email=somebody@example.com", "commit", "--quiet", "--message", "something"},
	} {
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir = second
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "git %v: %s", args, out)
	}
	one, two := buildIn(t, first, "v1.2.3"), buildIn(t, second, "v1.2.3")
	require.Equal(t, hashOf(t, one), hashOf(t, two))

	out, err := exec.CommandContext(t.Context(), one, "--version").Output()
	require.NoError(t, err)
	require.Contains(t, string(out), "v1.2.3")
}

// copyContext copies what `docker build` sends to the builder.
func copyContext(t *testing.T, to string) {
	t.Helper()
	f, err := os.Open(path(".dockerignore"))
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	patterns, err := ignorefile.ReadAll(f)
	require.NoError(t, err)
	ignored, err := patternmatcher.New(patterns)
	require.NoError(t, err)
	require.NoError(t, fs.WalkDir(os.DirFS(repository), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (name == ".git" || name == "bin"): // large, and nothing of them is let through
			return fs.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		out, err := ignored.MatchesOrParentMatches(name)
		if err != nil || out {
			return err
		}
		data, err := os.ReadFile(path(name))
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Join(to, filepath.Dir(name)), 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), data, 0o644)
	}))
}

// buildIn runs the Dockerfile's own command in a directory; the shell and the
// compiler are this machine's, and nobody's habits count.
func buildIn(t *testing.T, dir, version string) string {
	t.Helper()
	var command string
	for _, run := range readDockerfile(t)[0].all("RUN") {
		if strings.Contains(run, "go build") {
			command = regexp.MustCompile(`--mount=\S+\s+`).ReplaceAllString(run, "")
		}
	}
	require.Contains(t, command, "/out/")
	out := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", strings.ReplaceAll(command, "/out/", out+"/"))
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOENV=off", "GOFLAGS=", "VERSION="+version, "TARGETOS="+runtime.GOOS, "TARGETARCH="+runtime.GOARCH)
	printed, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s\n%s", command, printed)
	return filepath.Join(out, "parley")
}

func hashOf(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open(name)
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	hash := sha256.New()
	_, err = io.Copy(hash, f)
	require.NoError(t, err)
	return hex.EncodeToString(hash.Sum(nil))
}

// stage is a stage of a Dockerfile.
type stage struct {
	image        string
	instructions [][2]string // name and arguments
}

func (s stage) all(instruction string) []string {
	var found []string
	for _, i := range s.instructions {
		if i[0] == instruction {
			found = append(found, i[1])
		}
	}
	return found
}

func readDockerfile(t *testing.T) []stage {
	t.Helper()
	data, err := os.ReadFile(path("deploy/Dockerfile"))
	require.NoError(t, err)
	text := regexp.MustCompile(`(?m)^\s*#.*\n`).ReplaceAllString(string(data), "")
	text = strings.ReplaceAll(text, "\\\n", " ")
	var stages []stage
	for line := range strings.Lines(text) {
		name, args, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch name {
		case "":
		case "FROM":
			fields := strings.Fields(args)
			for strings.HasPrefix(fields[0], "--") {
				fields = fields[1:]
			}
			stages = append(stages, stage{image: fields[0]})
		default:
			require.NotEmpty(t, stages, "%s stands before FROM", name)
			last := &stages[len(stages)-1]
			last.instructions = append(last.instructions, [2]string{name, args})
		}
	}
	return stages
}
