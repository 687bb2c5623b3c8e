package bench

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// usage is what a process has used: CPU (user and system) since its start, and
// the memory that it has resident and the most that it ever had, in bytes.
type usage struct {
	CPU          time.Duration
	RSS, PeakRSS int64
}

func (u usage) plus(other usage) usage {
	return usage{CPU: u.CPU + other.CPU, RSS: u.RSS + other.RSS, PeakRSS: u.PeakRSS + other.PeakRSS}
}

// usageOfAll adds up what processes have used.
func usageOfAll(processes []*child) (sum usage) {
	for _, c := range processes {
		sum = sum.plus(c.usage())
	}
	return sum
}

// clockTick is the unit of CPU times in /proc: USER_HZ is 100 on every Linux.
const clockTick = 10 * time.Millisecond

// usageOf reads /proc; where there is none the usage is zero.
func usageOf(pid int) usage {
	var u usage
	if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
		u.CPU = parseStat(stat)
	}
	if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); err == nil {
		u.RSS, u.PeakRSS = parseMemory(status, "VmRSS"), parseMemory(status, "VmHWM")
	}
	return u
}

// parseStat adds utime and stime, fields 14 and 15 of /proc/<pid>/stat
// (proc(5)); the second field is in parentheses and may hold anything.
func parseStat(stat []byte) time.Duration {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0
	}
	user, errU := strconv.ParseInt(string(fields[11]), 10, 64)
	system, errS := strconv.ParseInt(string(fields[12]), 10, 64)
	if errU != nil || errS != nil {
		return 0
	}
	return time.Duration(user+system) * clockTick
}

// parseMemory reads a line of /proc/<pid>/status.
func parseMemory(status []byte, name string) int64 {
	_, rest, ok := bytes.Cut(status, []byte("\n"+name+":"))
	if !ok {
		return 0
	}
	fields := bytes.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kib, err := strconv.ParseInt(string(fields[0]), 10, 64)
	if err != nil {
		return 0
	}
	return kib << 10
}
