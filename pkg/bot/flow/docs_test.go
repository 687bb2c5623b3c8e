package flow_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/bot/flow"
)

// TestTheExamplesOfTheDocumentation: each YAML block of docs/bots.md is right,
// as a whole file or as the steps of a dialog.
func TestTheExamplesOfTheDocumentation(t *testing.T) {
	page, err := os.ReadFile("../../../docs/bots.md")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	require.NotEmpty(t, blocks)
	for _, block := range blocks {
		source := block[1]
		if strings.HasPrefix(source, "- ") {
			source = "intro: example\nnot_understood: example\nentries: [menu, colleague]\ndialogs:\n  menu: [Menu]\n  colleague: [Colleague]\n  example:\n    " +
				strings.ReplaceAll(source, "\n", "\n    ")
		}
		def, err := flow.Parse("bots.md", []byte(source))
		require.NoError(t, err, source)
		for _, w := range def.Warnings() {
			require.Contains(t, w.Detail, "Messenger takes", source)
		}
	}
}
