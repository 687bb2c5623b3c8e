package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCompletion(t *testing.T) {
	asked := make(chan string, 1)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Header.Get("Authorization")
		switch r.URL.Path {
		case "/ops/v1/channels":
			_, _ = w.Write([]byte(`{"items":[{"id":"shop"},{"id":"desk"},{"id":"ship"}]}`))
		case "/ops/v1/bots":
			_, _ = w.Write([]byte(`{"items":[{"id":"pizza"}]}`))
		default:
			http.Error(w, "{}", http.StatusNotFound)
		}
	}))
	defer api.Close()
	env := []string{"PARLEY_OPS_URL=" + api.URL, "PARLEY_OPS_TOKEN=a-token-of-the-test", "PARLEY_UNKNOWN=1"}
	for line, want := range map[string]string{
		"channel show ":             "shop desk ship :4",
		"channel show s":            "shop ship :4",
		"channel show shop ":        ":4",
		"channel create ":           "--bot :4",
		"channel create x --bot ":   "pizza :4",
		"dead list --channel d":     "desk :4",
		"endpoint show ":            ":1", // what the API refuses is no completion
		"serve --log-level ":        "debug info warn error :4",
		"config check --for ":       "serve ingest bot-worker delivery-worker ops all :4",
		"serve --public-addr ":      ":4",
		"serve --ready-file ":       ":0", // files
		"bot check ":                ":0",
		"bot create x --file ":      ":0",
		"completion ":               "bash fish powershell zsh :4",
		"endpoint create x --auth ": "none basic bearer oauth2 :4",
	} {
		t.Run(line, func(t *testing.T) {
			words := strings.Split(line, " ")
			r := parley(t, env, "", append([]string{"__completeNoDesc"}, words...)...)
			require.Equal(t, exitOK, r.code, r.stderr)
			require.Equal(t, want, strings.Join(strings.Fields(r.stdout), " "))
			select {
			case token := <-asked:
				require.Equal(t, "Bearer a-token-of-the-test", token)
			default:
			}
		})
	}
}

func TestCompletionWithoutTheAPIIsNone(t *testing.T) {
	env := []string{"PARLEY_OPS_URL=http://127.0.0.1:1", "PARLEY_OPS_TOKEN=a-token-of-the-test"}
	r := parley(t, env, "", "__completeNoDesc", "channel", "show", "")
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Equal(t, ":1\n", r.stdout)
}

func TestCompletionScripts(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		r := parley(t, nil, "", "completion", shell)
		require.Equal(t, exitOK, r.code, r.stderr)
		require.Contains(t, r.stdout, "__complete", shell)
	}
}
