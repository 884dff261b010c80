{{- define "room-actors.selector" -}}
app.kubernetes.io/name: room-actors
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}
{{- define "room-actors.labels" -}}
{{ include "room-actors.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}
