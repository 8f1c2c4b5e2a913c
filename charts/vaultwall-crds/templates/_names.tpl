{{/* Labels and annotations of every definition. They stay when the release goes: all policies would go with them. */}}
{{- define "vaultwall-crds.marks" -}}
labels:
  app.kubernetes.io/name: {{ .Chart.Name }}
  app.kubernetes.io/instance: {{ .Release.Name }}
  app.kubernetes.io/part-of: vaultwall
  app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ .Release.Service }}
  helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
annotations:
  helm.sh/resource-policy: keep
{{- end }}
