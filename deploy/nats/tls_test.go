package nats_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/source"
	partitest "github.com/arloliu/parti/testing"
)

// authority makes the certificates that README.md has openssl make, in dir.
func authority(t *testing.T, dir string) {
	t.Helper()
	name := func(cn string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: cn},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true,
		}
	}
	ca := name("parti test authority")
	ca.IsCA, ca.KeyUsage = true, x509.KeyUsageCertSign
	caKey := newKey(t)
	write := func(file string, cert *x509.Certificate, key *ecdsa.PrivateKey) {
		der, err := x509.CreateCertificate(rand.Reader, cert, ca, &key.PublicKey, caKey)
		if err != nil {
			t.Fatal(err)
		}
		secret, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		for path, block := range map[string]*pem.Block{
			file + ".pem": {Type: "CERTIFICATE", Bytes: der}, file + "-key.pem": {Type: "EC PRIVATE KEY", Bytes: secret},
		} {
			if err := os.WriteFile(filepath.Join(dir, path), pem.EncodeToMemory(block), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	write("ca", ca, caKey)
	srv := name("nats")
	srv.IPAddresses, srv.ExtKeyUsage = []net.IP{net.IPv4(127, 0, 0, 1)}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	write("server", srv, newKey(t))
	client := name("worker")
	client.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	write("client", client, newKey(t))
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// serve starts a server from nats-server.conf, on another port and store.
func serve(t *testing.T) *server.Server {
	t.Helper()
	file, err := filepath.Abs("nats-server.conf")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	authority(t, dir)
	t.Chdir(dir) // where the server looks for certificates
	o, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	o.Host, o.Port, o.StoreDir = "127.0.0.1", server.RANDOM_PORT, t.TempDir()
	o.NoLog, o.NoSigs, o.SyncAlways = true, true, false
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(30 * time.Second) {
		t.Fatal("the server does not start")
	}
	return s
}

// TestTLS: workers that show a certificate and sign with their key do their work; who
// shows none, trusts nobody or has another key does not get in.
func TestTLS(t *testing.T) {
	keys := newKeyring(t)
	s := serve(t)
	connect := func(opts ...nats.Option) (*nats.Conn, error) {
		nc, err := nats.Connect(s.ClientURL(), opts...)
		if err == nil {
			t.Cleanup(nc.Close)
		}
		return nc, err
	}
	withTLS := []nats.Option{nats.RootCAs("ca.pem"), nats.ClientCert("client.pem", "client-key.pem")}
	stranger, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := stranger.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	for what, opts := range map[string][]nats.Option{
		"without a certificate": append(keys.as(t, "PARTI_WORKER"), nats.RootCAs("ca.pem")),
		"without the authority": append(keys.as(t, "PARTI_WORKER"), nats.ClientCert("client.pem", "client-key.pem")),
		"without a key":         withTLS,
		"with a strange key":    append([]nats.Option{nats.Nkey(public, stranger.Sign)}, withTLS...),
		"with an old protocol": append(append(keys.as(t, "PARTI_WORKER"), withTLS...), func(o *nats.Options) error {
			o.TLSConfig.MaxVersion = tls.VersionTLS11
			return nil
		}),
	} {
		if nc, err := connect(opts...); err == nil {
			t.Errorf("connected %s", what)
			nc.Close()
		}
	}
	admin, err := connect(append(keys.as(t, "PARTI_ADMIN"), withTLS...)...)
	if err != nil {
		t.Fatal(err)
	}
	makeBuckets(t, admin)
	denied := &denials{}
	src := source.NewStatic(fleettest.Numbered(partitions))
	var ws []*parti.Manager
	for range 2 {
		nc, err := connect(append(append(keys.as(t, "PARTI_WORKER"), denied.option()), withTLS...)...)
		if err != nil {
			t.Fatal(err)
		}
		w := fleettest.NewManager(t, nc, parti.Config{ColdStartSettle: 500 * time.Millisecond}, src)
		ws = append(ws, w)
	}
	done := make(chan error, len(ws))
	for _, w := range ws {
		go func() { done <- w.Start(t.Context()) }()
	}
	for range ws {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	n := 0
	for _, w := range ws {
		n += len(w.CurrentAssignment().Partitions)
	}
	if n == 0 {
		t.Error("nobody owns anything")
	}
	if d := denied.all(); len(d) > 0 {
		t.Errorf("refused: %q", d)
	}
}

// TestCredentials: with credentials files one signing key serves all workers that do
// not lead. Its template is the lists of worker 8 in accounts.conf, with a tag for the 8.
func TestCredentials(t *testing.T) {
	newKeyring(t)
	file, err := server.ProcessConfigFile("accounts.conf")
	if err != nil {
		t.Fatal(err)
	}
	var lists *server.Permissions
	for _, u := range file.Nkeys {
		if u.Nkey == os.Getenv("PARTI_WORKER_8") {
			lists = u.Permissions
		}
	}
	if lists == nil {
		t.Fatal("accounts.conf has no worker 8")
	}
	operator, account, role := pair(t, nkeys.CreateOperator), pair(t, nkeys.CreateAccount), pair(t, nkeys.CreateAccount)
	scope := jwt.NewUserScope()
	scope.Key, scope.Role = role.public, "follower"
	scope.Template.Pub.Allow = templated(lists.Publish.Allow)
	scope.Template.Sub.Allow = templated(lists.Subscribe.Allow)
	scope.Template.Resp = &jwt.ResponsePermission{MaxMsgs: 1, Expires: time.Minute}
	acc := jwt.NewAccountClaims(account.public)
	acc.Name = "PARTI"
	acc.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	acc.SigningKeys.AddScopedSigner(scope)
	accJWT := encoded(t, acc, operator)
	system := pair(t, nkeys.CreateAccount)
	systemJWT := encoded(t, jwt.NewAccountClaims(system.public), operator)
	operatorJWT := encoded(t, jwt.NewOperatorClaims(operator.public), operator)

	// creds writes a credentials file, as `nsc generate creds` does.
	creds := func(t *testing.T, u *jwt.UserClaims, user, signer keys) string {
		t.Helper()
		text, err := jwt.FormatUserConfig(encoded(t, u, signer), user.seed)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "user.creds")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	follower := func(t *testing.T, id string) string {
		t.Helper()
		user := pair(t, nkeys.CreateUser)
		u := jwt.NewUserClaims(user.public)
		u.Name, u.IssuerAccount = "worker-"+id, account.public
		u.SetScoped(true)
		u.Tags.Add("id:" + id)
		return creds(t, u, user, role)
	}

	claims, err := jwt.DecodeOperatorClaims(operatorJWT)
	if err != nil {
		t.Fatal(err)
	}
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		src := source.NewStatic(fleettest.Numbered(partitions))
		all := pair(t, nkeys.CreateUser)
		leader := creds(t, jwt.NewUserClaims(all.public), all, account)
		makeBuckets(t, srv.Connect(t, nats.UserCredentials(leader)))
		denied := &denials{}
		ws := []*parti.Manager{fleettest.NewManager(t,
			srv.Connect(t, append(parti.NATSOptions(), nats.UserCredentials(leader), denied.option())...), parti.Config{WorkerIDMax: 2}, src)}
		for id, text := range map[int]string{3: "3", 14: "14"} {
			nc := srv.Connect(t, append(parti.NATSOptions(), nats.UserCredentials(follower(t, text)),
				nats.CustomInboxPrefix("_INBOX_worker-"+text), denied.option())...)
			ws = append(ws, fleettest.NewManager(t, nc, parti.Config{WorkerIDMin: id, WorkerIDMax: id}, src, parti.WithElectionAgent(never{})))
		}
		fleettest.StartAll(t, ws...)
		time.Sleep(time.Minute + 300*time.Millisecond)
		fleettest.OwnedOnce(t, ws, partitions)
		if d := denied.all(); len(d) > 0 {
			t.Errorf("refused: %q", d)
		}
		h := &hand{denied: &denials{}}
		h.Conn = srv.Connect(t, nats.UserCredentials(follower(t, "5")), nats.CustomInboxPrefix("_INBOX_worker-5"), h.denied.option())
		for _, s := range []string{"$KV.parti-heartbeat.worker.hb.worker-3", "$KV.parti-stableid.worker.id.3", "$KV.parti-assignment.worker.head"} {
			h.refuses(t, s)
		}
	}, partitest.WithServerOptions(func(o *server.Options) {
		resolver := &server.MemAccResolver{}
		if err := errors.Join(resolver.Store(account.public, accJWT), resolver.Store(system.public, systemJWT)); err != nil {
			t.Error(err)
		}
		o.TrustedOperators, o.AccountResolver = []*jwt.OperatorClaims{claims}, resolver
		o.SystemAccount = system.public
	}))
}

// templated writes a tag in place of the id of worker 8.
func templated(subjects []string) jwt.StringList {
	var out jwt.StringList
	for _, s := range subjects {
		out.Add(idOf8.ReplaceAllString(s, "${1}{{tag(id)}}"))
	}
	return out
}

type keys struct {
	pair   nkeys.KeyPair
	public string
	seed   []byte
}

func pair(t *testing.T, create func() (nkeys.KeyPair, error)) keys {
	t.Helper()
	kp, err := create()
	if err != nil {
		t.Fatal(err)
	}
	public, err1 := kp.PublicKey()
	seed, err2 := kp.Seed()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return keys{kp, public, seed}
}

func encoded(t *testing.T, c jwt.Claims, signer keys) string {
	t.Helper()
	text, err := c.Encode(signer.pair)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
