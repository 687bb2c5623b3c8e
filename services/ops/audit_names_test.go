package ops

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/audit"
)

// ActionNames lists what the audit can say.
func ActionNames() []string { return slices.Sorted(maps.Values(actions)) }

// A route that changes something has its name in the audit, and a name its route.
func TestEveryChangeHasAName(t *testing.T) {
	e := echo.New()
	(&Service{}).Mount(e)
	var changes []string
	for _, r := range e.Routes() {
		path, ours := strings.CutPrefix(r.Path, Root)
		if ours && r.Method != http.MethodGet && r.Method != echo.RouteNotFound {
			changes = append(changes, r.Method+" "+path)
		}
	}
	require.NotEmpty(t, changes)
	require.ElementsMatch(t, slices.Collect(maps.Keys(actions)), changes, "give it a name in actions")
	for route, action := range actions {
		kind, verb, _ := strings.Cut(action, ".")
		require.Contains(t, audit.Kinds(), kind, route)
		require.NotEmpty(t, verb, route)
	}
	names := ActionNames()
	require.Equal(t, slices.Compact(slices.Clone(names)), names, "no name stands for two things")
}
