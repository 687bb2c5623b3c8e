package partition

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strconv"
)

// Worker is a live worker as Assign sees it.
type Worker struct {
	Key      string // its own; decides between workers of one name
	Instance string // its name, which a worker that comes back keeps
	Refuses  []int  // partitions that it can't work on
}

// Assign says who should own what: for each partition the index of its worker,
// or -1 where there are no workers, or all refuse. The loads differ by one at most, the answer
// depends on the set of workers alone, and a worker that joins or leaves moves
// few partitions between the others.
//
// It is rendezvous hashing with bounded loads: of all pairs of a partition and a
// worker the one with the highest score is settled first, until a worker has
// its share. What is left then, because those that have room refuse it, goes
// beyond the shares.
func Assign(partitions int, workers []Worker) []int {
	owner := make([]int, partitions)
	for p := range owner {
		owner[p] = -1
	}
	if len(workers) == 0 {
		return owner
	}
	share, larger := partitions/len(workers), partitions%len(workers) // so many have one more
	load := make([]int, len(workers))
	all := candidates(partitions, workers)
	for _, c := range all {
		most := share
		if larger > 0 {
			most++
		}
		if owner[c.partition] >= 0 || load[c.worker] >= most {
			continue
		}
		owner[c.partition] = c.worker
		load[c.worker]++
		if load[c.worker] > share {
			larger--
		}
	}
	for _, c := range all {
		if owner[c.partition] < 0 {
			owner[c.partition] = c.worker
		}
	}
	return owner
}

type candidate struct {
	score             uint64
	partition, worker int
}

// candidates are all pairs but those that are refused, the highest score first.
func candidates(partitions int, workers []Worker) []candidate {
	all := make([]candidate, 0, partitions*len(workers))
	for w := range workers {
		for p := range partitions {
			if !slices.Contains(workers[w].Refuses, p) {
				all = append(all, candidate{score: score(workers[w].Instance, p), partition: p, worker: w})
			}
		}
	}
	slices.SortFunc(all, func(a, b candidate) int {
		return cmp.Or(
			cmp.Compare(b.score, a.score),
			cmp.Compare(a.partition, b.partition),
			cmp.Compare(workers[a.worker].Key, workers[b.worker].Key),
		)
	})
	return all
}

func score(instance string, partition int) uint64 {
	sum := sha256.Sum256([]byte(strconv.Itoa(partition) + "/" + instance))
	return binary.BigEndian.Uint64(sum[:])
}
