{{/* Names and labels. They are defined only here, because selectors must match the labels in other templates. */}}

{{/* Name of the operator's objects. One operator serves a cluster, so it is the same for every release. */}}
{{- define "vaultwall.name" -}}
{{ .Values.fullnameOverride | default .Chart.Name }}
{{- end }}

{{/* Labels that select the operator's pods. The selector of a Deployment is immutable. */}}
{{- define "vaultwall.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/*
Labels and annotations of an object. Argument: `list $ labels annotations`. Precedence: the chart's own labels, then these, then
those of every object.
*/}}
{{- define "vaultwall.marks" -}}
{{- $ := first . }}
{{- $own := fromYaml (include "vaultwall.selector" $) }}
{{- $_ := set $own "app.kubernetes.io/component" "operator" }}
{{- $_ := set $own "app.kubernetes.io/part-of" "vaultwall" }}
{{- $_ := set $own "app.kubernetes.io/version" $.Chart.AppVersion }}
{{- $_ := set $own "app.kubernetes.io/managed-by" $.Release.Service }}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" $.Chart.Name $.Chart.Version | replace "+" "_") -}}
labels:
  {{- toYaml (merge $own (index . 1) $.Values.commonLabels) | nindent 2 }}
{{- with merge (dict) (index . 2) $.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "vaultwall.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "vaultwall.name" .) }}
{{- else -}}
{{ .Values.serviceAccount.name }}
{{- end -}}
{{- end }}

{{- define "vaultwall.proxyImage" -}}
{{- with .Values.proxy -}}
{{- if and .digest (contains "@" .image) -}}
{{ fail "proxy.image has a digest already: remove it there, or leave proxy.digest empty" }}
{{- end -}}
{{ .image }}{{ with .digest }}@{{ . }}{{ end }}
{{- end -}}
{{- end }}

{{- define "vaultwall.image" -}}
{{- with .Values.image -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ with .digest }}@{{ . }}{{ end }}
{{- end -}}
{{- end }}
