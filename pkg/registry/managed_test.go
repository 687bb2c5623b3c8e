package registry_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/registry"
)

// Who manages a record stays where a write doesn't say it, and is read by every
// process; so is a time that never comes.
func TestManagedByStays(t *testing.T) {
	conn := brokertest.New(t)
	sealer := newSealer(t)
	r, stop := open(t, conn, registry.Options{Sealer: sealer})
	bot := chat.Bot{ID: "pizza", Kind: registry.BotEcho}
	channel := chat.Channel{ID: "shop", BotID: "pizza"}
	endpoint := shopEndpoint()
	endpoint.DisableAfter = -1
	for _, owner := range []string{"team", ""} {
		bot.ManagedBy, channel.ManagedBy, endpoint.ManagedBy = owner, owner, owner
		stored, _, err := r.PutBot(t.Context(), bot, registry.Any)
		require.NoError(t, err)
		require.Equal(t, "team", stored.ManagedBy)
		_, err = r.PutChannel(t.Context(), channel, registry.Any)
		require.NoError(t, err)
		kept, _, err := r.PutEndpoint(t.Context(), endpoint, registry.Any)
		require.NoError(t, err)
		require.Equal(t, "team", kept.ManagedBy)
	}
	stop()
	again, stop := open(t, conn, registry.Options{Sealer: sealer})
	defer stop()
	c, _ := again.Snapshot().Channel("shop")
	require.Equal(t, "team", c.ManagedBy)
	e, found := again.Snapshot().Endpoint(endpoint.ID)
	require.True(t, found, "what is stored can be read")
	require.EqualValues(t, -1, e.DisableAfter)
}

func TestHashToken(t *testing.T) {
	clear, token := registry.NewTokenOf("app", "shop", "App", time.UnixMilli(1))
	require.Equal(t, "app", token.ID)
	hash, err := registry.HashToken("app", clear)
	require.NoError(t, err)
	require.Equal(t, token.Hash, hash)
	for name, value := range map[string]string{
		"of another id": "pat_other_" + strings.Repeat("x", 32),
		"no prefix":     strings.Repeat("x", 40),
		"short":         "pat_app_" + strings.Repeat("x", 31),
		"with a space":  "pat_app_" + strings.Repeat("x", 32) + " ",
		"not ASCII":     "pat_app_" + strings.Repeat("é", 32),
	} {
		_, err := registry.HashToken("app", value)
		require.ErrorContains(t, err, "pat_app_", name)
		require.NotContains(t, err.Error(), value, name)
	}
}
