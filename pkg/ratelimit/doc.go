// Package ratelimit says how many of something may happen now, under a rate
// that all processes share through Redis.
//
// It is the Generic Cell Rate Algorithm (ITU-T I.371, annex A.1; the form here,
// which keeps one "theoretical arrival time" a key, is that of ATM Forum
// TM 4.0): after a pause Burst pass at once, then one in each interval, and in
// no span of time more than Burst and what the rate gives in it. One script,
// which touches one key, decides in Redis, by the clock of Redis.
//
// A key that is much used takes tokens ahead, at most what the rate gives in
// 50 ms, and so costs Redis about 20 calls a second and process, whether they
// are granted or refused. A token taken ahead is void once the rate has given as
// many again, and the burst is smaller by as many, so that the bound above holds
// for when tokens are used, not only for when they were taken.
//
// Redis may fail: an answer that takes longer than 50 ms, or an error, and the
// process decides by itself, by the same algorithm from what it last knew, for a
// second at a time. So while Redis is out each process allows the whole rate.
// That is counted, and logged when it begins and when it ends.
package ratelimit
