// Command parley is the one binary: every service, the tools that configure
// and watch them, and the tools to try them with.
//
// It alone reads flags, the environment and files (config.go); the services
// are given options. Errors are printed once, here, and end the process with
// exit code 2 where the command line or the configuration is wrong, with 128
// and the signal's number where a signal cut a command short, else with 1.
// A service that was told to stop by SIGINT or SIGTERM ends with 0; a second
// signal ends the process at once.
package main
