{{/* Labels and annotations of every CRD. CRDs remain when the release is uninstalled, because deleting them deletes all policies. */}}
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
