package crew

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// ReadSpec reads the first line of a worker's input, and returns what follows it.
func ReadSpec[T any](in io.Reader) (T, *bufio.Scanner, error) {
	var s T
	lines := bufio.NewScanner(in)
	if !lines.Scan() {
		return s, nil, errors.New("no specification on standard input")
	}
	if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
		return s, nil, fmt.Errorf("read specification: %w", err)
	}
	return s, lines, nil
}
