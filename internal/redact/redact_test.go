package redact_test

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"

	"github.com/arloliu/parti/internal/redact"
)

func TestText(t *testing.T) {
	for text, want := range map[string]string{
		"connection refused":                         "connection refused",
		"dial nats://127.0.0.1:4222: refused":        "dial nats://127.0.0.1:4222: refused",
		"nats://n1:4222,nats://n2:4222 refuse":       "nats://n1:4222,nats://n2:4222 refuse",
		"dial nats://[2001:db8::1]:4222: refused":    "dial nats://[2001:db8::1]:4222: refused",
		"https://api/list?page=3&size=10: 500":       "https://api/list?page=3&size=10: 500",
		"password authentication failed for user me": "password authentication failed for user me",
		"nats: Authorization Violation":              "nats: Authorization Violation",
		"token 7 of partition a:b is stale, want 8":  "token 7 of partition a:b is stale, want 8",
		"me@example.com (staff)":                     "me@example.com (staff)",
		"dial nats://me:secret@127.0.0.1:4222":       "dial nats://xxxxx@127.0.0.1:4222",
		"nats://token@n1 and postgres://u:p@db/x":    "nats://xxxxx@n1 and postgres://xxxxx@db/x",
		`parse "postgres://u:p@ss/w#rd@db": bad`:     `parse "postgres://xxxxx@db": bad`,
		"nats://u:p@n1:4222,nats://u:p@n2:4222 fail": "nats://xxxxx@n2:4222 fail",
	} {
		if got := redact.Text(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

// hides fails when something of a secret is left, or nothing of what surrounds it.
func hides(t *testing.T, text, secret string, keeps ...string) {
	t.Helper()
	got := redact.Text(text)
	if strings.Contains(got, secret) {
		t.Errorf("%q becomes %q", text, got)
	}
	for _, k := range keeps {
		if !strings.Contains(got, k) {
			t.Errorf("%q becomes %q, which does not say %q", text, got, k)
		}
	}
}

func TestSecrets(t *testing.T) {
	for _, text := range []string{
		"connect: host=db user=me password=s3cret dbname=x: connection refused",
		"connect: host=db user=me password='it''s s3cret' dbname=x: connection refused",
		`connect: host=db password='it\'s s3cret' dbname=x: connection refused`,
		`connect: host=db PASSWD = "s3cret" dbname=x: connection refused`,
		"connect: server=db;user id=me;pwd=s3cret dbname=x: connection refused",
		"connect: sslpassword=s3cret dbname=x: connection refused",
		"connect: me:s3cret@tcp(db:3306)/list dbname=x: connection refused",
		"connect: me:s3:cret:s3cret@unix(/tmp/x) dbname=x: connection refused",
		`Get "https://api.example.com/list?token=s3cret": connection refused`,
		`Get "https://api.example.com/list?a=b&access_token=s3cret&c=d": connection refused`,
		"https://api.example.com/list?X-Amz-Signature=s3cret connection refused",
		"https://api.example.com/list?clientSecret=s3cret connection refused",
		`{"user":"me","password":"s3cret"} connection refused`,
		`body "{\"api_key\": \"s3cret\"}" connection refused`,
		"Authorization: Bearer s3cret connection refused",
		"Authorization: Basic s3cret== connection refused",
		"authorization=s3cret connection refused",
		`map[Authorization:[Bearer s3cret]] connection refused`,
		"bearer s3cret connection refused",
		"postgres://me:pa s3cret@db/x: connection refused",
		`"postgres://me:1 s3cret@db/x": connection refused`,
		"postgres://me:s3cret connection refused",
		`parse "postgres://me:s3cret": connection refused`,
		`parse "nats://u:s3cret%zz@h": connection refused`,
	} {
		hides(t, text, "s3cret", "connection refused")
	}
	for _, address := range []string{"postgres://me:s3cret/more@db", "postgres://me:s3cret#more@db", "postgres://me:s3cret%zz@db", "postgres://me:s3cret"} {
		if _, err := url.Parse(address); err != nil {
			hides(t, err.Error(), "s3cret", "parse")
		}
	}
}

func TestKeysOfNATS(t *testing.T) {
	for _, kind := range []nkeys.PrefixByte{nkeys.PrefixByteUser, nkeys.PrefixByteAccount, nkeys.PrefixByteOperator, nkeys.PrefixByteServer, nkeys.PrefixByteCluster, nkeys.PrefixByteCurve} {
		pair, err := nkeys.CreatePair(kind)
		if kind == nkeys.PrefixByteCurve {
			pair, err = nkeys.CreateCurveKeys()
		}
		if err != nil {
			t.Fatal(err)
		}
		seed, err := pair.Seed()
		if err != nil {
			t.Fatal(err)
		}
		public, err := pair.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		hides(t, "sign as "+public+" with "+string(seed)+": refused", string(seed[2:]), public, "refused")
		hides(t, "file_"+string(seed)+"\n", string(seed[2:]), "file_")
	}
	const jwt = "eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ.eyJqdGkiOiJBIn0.c2lnbmF0dXJl"
	hides(t, "connect with "+jwt+": refused", "OiJKV1Q", "connect with", "refused")
	hides(t, "connect with "+jwt+": refused", "c2lnbmF0dXJl")
}

func FuzzText(f *testing.F) {
	f.Add("postgres://me:pa s3cret@db/x: bad, password='a b' token=\"x\" Authorization: Bearer eyJabcdefghij.x")
	f.Add("://password='a b@c'@ me:x@tcp(h) {\"pass\":\"\\\"\"} invalid port \":x\" after host")
	f.Add("SUAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=://:@")
	f.Fuzz(func(t *testing.T, text string) {
		once := redact.Text(text)
		if twice := redact.Text(once); twice != once {
			t.Errorf("%q becomes %q, and that %q", text, once, twice)
		}
		hides(t, text+" password=s3cret-of-mine ", "s3cret-of-mine")
		hides(t, text+" nats://me:s3cret-of-mine@host ", "s3cret-of-mine")
	})
}

func TestPairs(t *testing.T) {
	pairs := []any{"error", errors.New("at db://u:p@h"), "text", "at db://u:p@h", "n", 3}
	redact.Pairs(pairs)
	if got := fmt.Sprint(pairs...); got != fmt.Sprint("error", "at db://xxxxx@h", "text", "at db://xxxxx@h", "n", 3) {
		t.Error(got)
	}
	plain := errors.New("plain")
	pairs = []any{"error", plain}
	if redact.Pairs(pairs); pairs[1] != any(plain) {
		t.Errorf("an error without credentials becomes %T", pairs[1])
	}
}
