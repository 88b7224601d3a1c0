package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/urfave/cli/v3"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/core"
)

// decodeCommand prints what fleets write to NATS.
func decodeCommand(stdout io.Writer) *cli.Command {
	return &cli.Command{
		Name:      "decode",
		Usage:     "print values of a fleet's buckets as JSON",
		ArgsUsage: "[key ...]",
		Description: "With --nats, prints the keys given, or all, of a bucket: the key, its revision and\n" +
			"its value. Without, reads one value from standard input:\n\n" +
			"   nats kv get --raw parti-assignment worker.head | parti decode",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "nats", Usage: "`URL` of the NATS servers"},
			&cli.StringFlag{Name: "bucket", Usage: "`NAME` of the bucket", Value: parti.DefaultConfig().KVBucket.AssignmentBucket},
		},
		Action: func(ctx context.Context, c *cli.Command) error {
			if c.String("nats") != "" {
				return decodeBucket(ctx, stdout, c.String("nats"), c.String("bucket"), c.Args().Slice())
			}
			if c.Args().Present() {
				return errors.New("decode: keys need --nats; without, a value is read from standard input")
			}
			return decodeValue(stdout, os.Stdin)
		},
	}
}

func decodeValue(stdout io.Writer, in io.Reader) error {
	val, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("read standard input: %w", err)
	}
	text, err := core.Readable(val)
	if err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	_, err = fmt.Fprintf(stdout, "%s\n", text)
	return err
}

func decodeBucket(ctx context.Context, stdout io.Writer, url, bucket string, keys []string) error {
	nc, err := nats.Connect(url, nats.Name("parti decode"))
	if err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	kv, err := js.KeyValue(ctx, bucket)
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", bucket, err)
	}
	if len(keys) == 0 {
		if keys, err = kv.Keys(ctx); err != nil && !errors.Is(err, jetstream.ErrNoKeysFound) {
			return fmt.Errorf("list the keys of bucket %s: %w", bucket, err)
		}
		slices.Sort(keys)
	}
	var failed []error
	for _, key := range keys {
		rev := uint64(0)
		text, err := core.ReadableAt(key, func(k string) ([]byte, error) {
			e, err := kv.Get(ctx, k)
			if err != nil {
				return nil, err
			}
			if k == key {
				rev = e.Revision()
			}
			return e.Value(), nil
		})
		if err != nil {
			failed = append(failed, fmt.Errorf("key %s: %w", key, err))
			continue
		}
		if _, err := fmt.Fprintf(stdout, "%s %d %s\n", key, rev, text); err != nil {
			return err
		}
	}
	return errors.Join(failed...)
}
