{{- define "parley.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- /* Short enough for the longest suffix, -delivery-worker, to fit behind it. */ -}}
{{- define "parley.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- $name := include "parley.name" . }}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- /* A service's values by its command. */ -}}
{{- define "parley.services" -}}
ingest: ingest
bot-worker: botWorker
delivery-worker: deliveryWorker
ops: ops
{{- end }}

{{- define "parley.selector" -}}
app.kubernetes.io/name: {{ include "parley.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "parley.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "parley.selector" . }}
app.kubernetes.io/version: {{ default .Chart.AppVersion .Values.image.tag | quote }}
app.kubernetes.io/part-of: parley
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "parley.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}

{{- define "parley.serviceAccountName" -}}
{{- default (ternary (include "parley.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name }}
{{- end }}

{{- define "parley.secretName" -}}
{{- default (include "parley.fullname" .) .Values.secrets.existingSecret }}
{{- end }}

{{- /* The name of the NATS chart's Service, made as that chart makes it. */ -}}
{{- define "parley.natsHost" -}}
{{- $name := default "nats" .Values.nats.nameOverride }}
{{- default (ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name)) .Values.nats.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "parley.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "parley.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- /*
The heap's soft limit: nine tenths of the container's memory. What is no heap
needs the rest. GOMAXPROCS needs no telling: Go follows the limit of CPU.
*/ -}}
{{- define "parley.memoryLimit" -}}
{{- $unit := ternary 1024 1 (hasSuffix "Gi" .) }}
{{- printf "%dKiB" (div (mul (atoi (regexReplaceAll "[A-Za-z]+$" . "")) $unit 1024 9) 10) }}
{{- end }}

{{- /* The configuration file, whose keys are flags. */ -}}
{{- define "parley.config" -}}
{{- $own := dict
  "public-addr" ":8080"
  "admin-addr" ":8081"
  "partitions" .Values.partitions
  "shutdown-timeout" (printf "%ds" (int .Values.shutdownTimeoutSeconds))
  "allow-ports" (default "any" (join "," .Values.allowPorts))
}}
{{- if .Values.allowCidrs }}{{ $_ := set $own "allow-cidrs" .Values.allowCidrs }}{{ end }}
{{- toYaml (merge $own .Values.config) }}
{{- end }}
