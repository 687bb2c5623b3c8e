package registry

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// KeySize is the length of a sealing key in bytes.
const KeySize = 32

// sealPrefix marks a sealed value and the way it was sealed.
const sealPrefix = "sealed1:"

// ErrWrongKey means that a secret was sealed with another key, or was moved or
// changed since.
var ErrWrongKey = errors.New("the configuration's secrets were sealed with another key: start with the key that the deployment began with")

// Sealer encrypts secrets at rest with AES-256-GCM (NIST SP 800-38D).
type Sealer struct{ aead cipher.AEAD }

// NewSealer makes a sealer; key has KeySize bytes.
func NewSealer(key []byte) (*Sealer, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("the sealing key has %d bytes: give it %d", len(key), KeySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("sealing key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("sealing key: %w", err)
	}
	return &Sealer{aead: aead}, nil
}

// seal encrypts a secret for one place, the field of a record; elsewhere it
// can't be opened. An empty secret stays empty.
func (s *Sealer) seal(secret, key, field string) string {
	if secret == "" {
		return ""
	}
	sealed := s.aead.Seal(nil, nil, []byte(secret), []byte(key+"/"+field))
	return sealPrefix + base64.RawStdEncoding.EncodeToString(sealed)
}

func (s *Sealer) open(sealed, key, field string) (string, error) {
	if sealed == "" {
		return "", nil
	}
	enc, ok := strings.CutPrefix(sealed, sealPrefix)
	if !ok {
		return "", fmt.Errorf("%s of %s is not sealed as this version seals", field, key)
	}
	raw, err := base64.RawStdEncoding.DecodeString(enc)
	if err != nil {
		return "", fmt.Errorf("%s of %s: %w", field, key, err)
	}
	secret, err := s.aead.Open(nil, nil, raw, []byte(key+"/"+field))
	if err != nil {
		return "", fmt.Errorf("%s of %s: %w", field, key, ErrWrongKey)
	}
	return string(secret), nil
}

// ParseKey reads a key's standard base64 form.
func ParseKey(text string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil || len(key) != KeySize {
		return nil, fmt.Errorf("a sealing key is %d random bytes in base64: make one with `openssl rand -base64 %d`", KeySize, KeySize)
	}
	return key, nil
}

// LoadOrCreateKey reads the key in a file (base64), or makes one there, for
// its owner's eyes only. Processes that start together agree on one key.
func LoadOrCreateKey(path string) ([]byte, error) {
	key, err := loadKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := createKey(path); err != nil {
		return nil, fmt.Errorf("making a sealing key in %s: %w", path, err)
	}
	return loadKey(path)
}

func loadKey(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the sealing key: %w", err)
	}
	key, err := ParseKey(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// createKey writes a new key beside path and links it there, which never
// replaces a key that another process was quicker to make.
func createKey(path string) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, ".key-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(tmp.Name())) }()
	key := make([]byte, KeySize)
	_, _ = rand.Read(key) // never fails: crypto/rand ends the process instead
	_, err = tmp.WriteString(base64.StdEncoding.EncodeToString(key) + "\n")
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	if runtime.GOOS == "windows" { // which can't: there a file's name lasts with the file
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
