package broker_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
)

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// startServer starts a server without JetStream: who connects is the question.
func startServer(t *testing.T, o *server.Options) (url string) {
	t.Helper()
	o.Host, o.Port, o.NoSigs = "127.0.0.1", server.RANDOM_PORT, true
	srv, err := server.NewServer(o)
	require.NoError(t, err)
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	require.True(t, srv.ReadyForConnections(10*time.Second))
	return strings.Replace(srv.ClientURL(), "nats://", "tls://", 1)
}

func TestAccessByCertificate(t *testing.T) {
	servers, clients := webhooktest.NewAuthority(t), webhooktest.NewAuthority(t)
	url := startServer(t, &server.Options{TLS: true, TLSVerify: true, TLSTimeout: 5, TLSConfig: servers.ServerConfig(clients)})
	cert, key := clients.Issue("parley.test")
	good := broker.Access{Authorities: writeFile(t, servers.PEM()), Cert: writeFile(t, cert), Key: writeFile(t, key)}
	conn, err := good.Connect(url, "test", zap.NewNop())
	require.NoError(t, err)
	require.NoError(t, conn.Ready())
	conn.Close()

	stranger := good
	stranger.Authorities = ""
	_, err = stranger.Connect(url, "test", zap.NewNop())
	require.ErrorContains(t, err, "certificate", "the system doesn't know the server's authority")
	nobody := good
	nobody.Cert, nobody.Key = "", ""
	_, err = nobody.Connect(url, "test", zap.NewNop())
	require.Error(t, err, "the server wants a certificate")
}

func TestAccessByCredentials(t *testing.T) {
	operator, err := nkeys.CreateOperator()
	require.NoError(t, err)
	account, err := nkeys.CreateAccount()
	require.NoError(t, err)
	user, err := nkeys.CreateUser()
	require.NoError(t, err)
	publicKey := func(pair nkeys.KeyPair) string {
		key, err := pair.PublicKey()
		require.NoError(t, err)
		return key
	}
	encode := func(claims jwt.Claims, by nkeys.KeyPair) string {
		text, err := claims.Encode(by)
		require.NoError(t, err)
		return text
	}
	trusted, err := jwt.DecodeOperatorClaims(encode(jwt.NewOperatorClaims(publicKey(operator)), operator))
	require.NoError(t, err)
	accounts := &server.MemAccResolver{}
	require.NoError(t, accounts.Store(publicKey(account), encode(jwt.NewAccountClaims(publicKey(account)), operator)))
	url := strings.Replace(startServer(t, &server.Options{TrustedOperators: []*jwt.OperatorClaims{trusted}, AccountResolver: accounts}), "tls://", "nats://", 1)
	seed, err := user.Seed()
	require.NoError(t, err)
	creds, err := jwt.FormatUserConfig(encode(jwt.NewUserClaims(publicKey(user)), account), seed)
	require.NoError(t, err)

	conn, err := broker.Access{Credentials: writeFile(t, string(creds))}.Connect(url, "test", zap.NewNop())
	require.NoError(t, err)
	conn.Close()
	_, err = broker.Connect(url, "test", zap.NewNop())
	require.ErrorContains(t, err, "Authorization Violation")
}

func TestAccessSaysWhichFile(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	junk := writeFile(t, "junk")
	for want, a := range map[string]broker.Access{
		"the credentials: open " + none: {Credentials: none},
		"the authorities: open " + none: {Authorities: none},
		junk + " has no certificate":    {Authorities: junk},
		"has two files":                 {Cert: junk},
		"the client certificate: ":      {Cert: junk, Key: junk},
	} {
		require.ErrorContains(t, a.Validate(), want)
		_, err := a.Connect("nats://127.0.0.1:1", "test", zap.NewNop())
		require.ErrorContains(t, err, want)
	}
}
