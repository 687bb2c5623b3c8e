// Package telemetry is how a process lets itself be watched: its logger, its
// metrics registry, where its traces go, and the admin server with /metrics,
// /livez, /readyz and /debug/pprof.
//
// Liveness says that the process serves HTTP. Readiness runs named checks, all
// at once and each within two seconds; one that fails makes the answer 503 and
// is listed with its error. The admin server is for operators and machines of
// the deployment and not for the public.
package telemetry
