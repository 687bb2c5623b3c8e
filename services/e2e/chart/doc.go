// Package chart tests the Helm chart (deploy/helm/parley): what it renders with
// each of its example values, whether the services run with the arguments,
// files and environment that it gives their containers, and what it refuses.
// make check-chart validates the same objects against their schemas.
package chart
