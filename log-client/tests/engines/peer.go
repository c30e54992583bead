// Peer asks other implementations what they think of our files. Its exit code says it: 0 for yes, 1 for no.
//
//	peer proof POLICY PROOF ENTRY    torchwood: does the tlog-proof show the entry under the policy?
//	peer entries DIR VKEY            torchwood: the number of entries, each verified by the tiles
//	peer fsck DIR VKEY               Tessera: is the directory a whole log?
//	peer append DIR KEY COUNT SIZE   Tessera: the nanoseconds of each of COUNT batches of SIZE entries, until it has them for good
//	peer tiles SIZE...               Go's own tlog: the SHA-256 of each tile that is new in a tree of so many entries
package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"strconv"
	"time"

	"filippo.io/torchwood"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	err := fmt.Errorf("see the source for the arguments")
	if len(os.Args) > 2 && os.Args[1] == "tiles" {
		err = tiles(os.Args[2:])
	} else if len(os.Args) == 6 && os.Args[1] == "append" {
		err = appends(os.Args[2], os.Args[3], number(os.Args[4]), number(os.Args[5]))
	} else if len(os.Args) == 5 && os.Args[1] == "proof" {
		err = proof(read(os.Args[2]), read(os.Args[3]), read(os.Args[4]))
	} else if len(os.Args) == 4 {
		verifier, invalid := note.NewVerifier(os.Args[3])
		check(invalid)
		switch os.Args[1] {
		case "entries":
			err = entries(os.Args[2], verifier)
		case "fsck":
			fetcher := &client.FileFetcher{Root: os.Args[2]}
			err = fsck.New(verifier.Name(), verifier, fetcher, leaves, fsck.Opts{}).Check(context.Background())
		}
	}
	check(err)
}

func proof(policy, proof, entry []byte) error {
	parsed, err := torchwood.ParsePolicy(policy)
	if err != nil {
		return err
	}
	return torchwood.VerifyProof(parsed, tlog.RecordHash(entry), proof)
}

func entries(directory string, verifier note.Verifier) error {
	policy := torchwood.ThresholdPolicy(2, torchwood.OriginPolicy(verifier.Name()), torchwood.SingleVerifierPolicy(verifier))
	checkpoint, _, err := torchwood.VerifyCheckpoint(read(directory+"/checkpoint"), policy)
	if err != nil {
		return err
	}
	tiles, err := torchwood.NewTileFS(os.DirFS(directory))
	if err != nil {
		return err
	}
	reader, err := torchwood.NewClient(tiles)
	if err != nil {
		return err
	}
	count := 0
	for range reader.AllEntries(context.Background(), checkpoint.Tree, 0) {
		count++
	}
	fmt.Println(count)
	return reader.Err()
}

func appends(directory, key string, count, size int64) error {
	signer, err := note.NewSigner(key)
	if err != nil {
		return err
	}
	ctx := context.Background()
	driver, err := posix.New(ctx, posix.Config{Path: directory})
	if err != nil {
		return err
	}
	options := tessera.NewAppendOptions().WithCheckpointSigner(signer).WithBatching(uint(size), time.Second)
	appender, shutdown, _, err := tessera.NewAppender(ctx, driver, options.WithCheckpointInterval(time.Second))
	if err != nil {
		return err
	}
	for batch := range count {
		started := time.Now()
		futures := []tessera.IndexFuture{}
		for index := range size {
			entry := fmt.Sprintf("%-300d", batch*size+index)
			futures = append(futures, appender.Add(ctx, tessera.NewEntry([]byte(entry))))
		}
		for _, future := range futures {
			if _, err := future(); err != nil {
				return err
			}
		}
		fmt.Println(time.Since(started).Nanoseconds())
	}
	return shutdown(ctx)
}

// Trees of `entry 0`, `entry 1`, ..., each larger than the one before.
func tiles(sizes []string) error {
	stored := []tlog.Hash{}
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		hashes := []tlog.Hash{}
		for _, index := range indexes {
			hashes = append(hashes, stored[index])
		}
		return hashes, nil
	})
	old := int64(0)
	for _, text := range sizes {
		size := number(text)
		for index := old; index < size; index++ {
			hashes, err := tlog.StoredHashes(index, []byte(fmt.Sprintf("entry %d", index)), reader)
			if err != nil {
				return err
			}
			stored = append(stored, hashes...)
		}
		for _, tile := range tlog.NewTiles(torchwood.TileHeight, old, size) {
			data, err := tlog.ReadTileData(tile, reader)
			if err != nil {
				return err
			}
			fmt.Printf("%s %x\n", torchwood.TilePath(tile), sha256.Sum256(data))
		}
		old = size
	}
	return nil
}

// The hashes of the entries in a bundle.
func leaves(bundle []byte) ([][]byte, error) {
	parsed := &api.EntryBundle{}
	if err := parsed.UnmarshalText(bundle); err != nil {
		return nil, err
	}
	hashes := [][]byte{}
	for _, entry := range parsed.Entries {
		hashes = append(hashes, rfc6962.DefaultHasher.HashLeaf(entry))
	}
	return hashes, nil
}

func number(text string) int64 {
	number, err := strconv.ParseInt(text, 10, 64)
	check(err)
	return number
}

func read(path string) []byte {
	bytes, err := os.ReadFile(path)
	check(err)
	return bytes
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
