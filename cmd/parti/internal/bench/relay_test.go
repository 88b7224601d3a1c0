package bench

import (
	"io"
	"net"
	"testing"
)

// echo answers every connection with what it says.
func echo(t *testing.T) string {
	t.Helper()
	in, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := in.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	t.Cleanup(func() {
		_ = in.Close()
		<-done
	})
	return in.Addr().String()
}

func TestRelay(t *testing.T) {
	r, err := openRelay(echo(t))
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	// says tells whether what is said over a connection comes back.
	says := func(c net.Conn) bool {
		got := make([]byte, 2)
		if _, err := c.Write([]byte("hi")); err != nil {
			return false
		}
		_, err := io.ReadFull(c, got)
		return err == nil && string(got) == "hi"
	}
	dial := func() net.Conn {
		c, err := net.Dial("tcp", r.in.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	old := dial()
	if !says(old) {
		t.Fatal("nothing comes through")
	}
	r.set(true)
	if says(old) {
		t.Error("a connection outlives the cut")
	}
	if says(dial()) {
		t.Error("a connection is made while the relay is cut")
	}
	r.set(false)
	if says(old) {
		t.Error("a broken connection works again")
	}
	if !says(dial()) {
		t.Error("nothing comes through once the relay is mended")
	}
}
