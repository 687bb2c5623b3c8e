// Schemas writes the JSON schemas that the Helm chart's objects are validated
// against: those of Kubernetes, KEDA and the Prometheus operator, as their
// modules ship them. kubeconform would fetch them from the network otherwise.
package main
