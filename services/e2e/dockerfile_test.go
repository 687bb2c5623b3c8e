package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The image's rules: built in one stage and run in another, from pinned images,
// reproducibly, without root, the binary as its entry point.
func TestDockerfile(t *testing.T) {
	stages := readDockerfile(t)
	require.GreaterOrEqual(t, len(stages), 2, "the compiler stays out of the image")
	for _, s := range stages {
		requirePinned(t, s.image)
		require.Empty(t, s.all("ADD"), "COPY says what ADD guesses")
	}

	build := stages[0]
	mod, err := os.ReadFile(filepath.Join(repository, "go.mod"))
	require.NoError(t, err)
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(mod)
	require.NotNil(t, version)
	require.Regexp(t, `^golang:`+regexp.QuoteMeta(string(version[1]))+`\.\d+`, build.image, "go.mod's Go")
	compile := strings.Join(build.all("RUN"), "\n")
	for _, flag := range []string{"CGO_ENABLED=0", "-trimpath", "-buildvcs=false", "-X main.version=$VERSION", "./services/parley"} {
		require.Contains(t, compile, flag)
	}

	image := stages[len(stages)-1]
	require.Contains(t, image.image, "@sha256:", "the tags of a base image move")
	user := image.all("USER")
	require.True(t, len(user) > 0 && !regexp.MustCompile(`^(root|0)(:|$)`).MatchString(user[len(user)-1]) ||
		len(user) == 0 && strings.Contains(image.image, ":nonroot@"), "the image runs without root")
	require.Equal(t, []string{`["/parley"]`}, image.all("ENTRYPOINT"))
	require.Empty(t, image.all("RUN"), "the image has no shell")
	for _, copied := range image.all("COPY") {
		require.Regexp(t, `^--from=build `, copied)
	}
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
	data, err := os.ReadFile(filepath.Join(repository, "deploy/Dockerfile"))
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
