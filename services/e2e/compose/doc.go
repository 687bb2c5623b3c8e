// Package compose keeps the files that Parley is deployed with true, without a
// container engine: docker-compose.yml and deploy/Dockerfile are read as the
// engine would read them and held to rules; the Dockerfile's own command builds
// the same binary twice; and each container runs as a process with its exact
// command, environment and health check. Then the README's commands are carried
// out.
//
// Processes have no names and addresses of their own as containers do, so every
// container gets an address of 127.0.0.0/8, all of which is loopback on Linux;
// ports stay as they are. composition_test.go says what else is replaced.
package compose
