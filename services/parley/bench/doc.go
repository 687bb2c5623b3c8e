// Package bench measures the pipeline against the least that could do its
// work: a bare relay, a HTTP server that posts each body to the sink over
// kept-alive connections and then answers 202.
//
// Rounds of relay and pipeline alternate under the same load, a closed loop or
// an open one, each of the two in processes of its own, so that both meet the
// same machine and CPU can be told apart by process. Every message says in its
// text which one it is and when it was sent, or was due; the sink, a process
// too, reads that and counts what came, what came twice, what came out of its
// conversation's order, and how long it took.
//
// Beside these rounds (Run) there are the pipeline as more and more processes
// (RunScaling), what waiting messages cost (RunBacklog), the drain of parked
// ones (RunParked), what an endpoint that hangs costs its neighbours
// (RunBulkhead), and a serve that has nothing to do (RunIdle). A field is the
// processes of any of them.
//
// All traffic stays on loopback. CPU and memory by process are read from /proc
// and are zero where there is none. Children end with the run; a child that
// ends early fails it with the end of its log.
package bench
