{{- define "regshim.name" -}}
{{- .Chart.Name -}}
{{- end -}}

{{- define "regshim.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "regshim.selector" -}}
app.kubernetes.io/name: {{ include "regshim.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "regshim.labels" -}}
{{ include "regshim.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "regshim.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "regshim.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "regshim.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- /* Whether any replica knows any translated digest. */ -}}
{{- define "regshim.shared" -}}
{{- $store := dig "cache" "store" "" .Values.config | default "" -}}
{{- if or .Values.store.urlSecret.name (hasPrefix "redis" $store) -}}true{{- end -}}
{{- end -}}

{{- /* Ports to let out to, as JSON: the upstream's own, and that of its storage. */ -}}
{{- define "regshim.upstreamPorts" -}}
{{- $url := urlParse .Values.config.upstream.url -}}
{{- $usual := ternary 80 443 (eq "http" $url.scheme) -}}
{{- $own := regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default $usual -}}
{{- list (int $own) (int .Values.networkPolicy.upstreamPort) | uniq | toJson -}}
{{- end -}}

{{- /* Seconds until a pod is killed: enough for what it does before it has ended. */ -}}
{{- define "regshim.terminationGrace" -}}
{{- $grace := ((.Values.config.listen).grace) | default "20s" -}}
{{- $units := dict "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0 "d" 86400.0 -}}
{{- $seconds := mulf (regexFind "[0-9.]+" $grace | float64) (get $units (regexFind "[a-z]+" $grace) | default 1.0) -}}
{{- $least := add .Values.preStopSeconds (ceil $seconds) 10 -}}
{{- if lt (int .Values.terminationGracePeriodSeconds) (int $least) -}}
{{- printf "terminationGracePeriodSeconds: %d is too short: preStopSeconds, config.listen.grace (%s) and 10 s to close are %d" (int .Values.terminationGracePeriodSeconds) $grace (int $least) | fail -}}
{{- end -}}
{{- .Values.terminationGracePeriodSeconds -}}
{{- end -}}

{{- /* The config file: the chart's own, and over it what is given. */ -}}
{{- define "regshim.config" -}}
{{- $_ := required "config.upstream.url is required: the registry behind the proxy" .Values.config.upstream.url -}}
{{- $listen := dict "host" "0.0.0.0" "port" 5000 -}}
{{- if .Values.tls.secretName -}}
{{- $files := dict "cert_file" "/etc/regshim-tls/tls.crt" "key_file" "/etc/regshim-tls/tls.key" -}}
{{- $_ := set $listen "tls" $files -}}
{{- end -}}
{{- $key := "/var/lib/regshim/signing-key.pem" -}}
{{- if .Values.signingKey.secret.name -}}
{{- $key = printf "/etc/regshim-key/%s" .Values.signingKey.secret.key -}}
{{- end -}}
{{- $config := dict
      "listen" $listen
      "admin" (dict "host" "0.0.0.0" "port" 5001)
      "translate" (dict "signing_key_file" $key)
-}}
{{- if not .Values.store.urlSecret.name -}}
{{- $_ := set $config "cache" (dict "store" "sqlite:///var/lib/regshim/translations.db") -}}
{{- end -}}
{{- mergeOverwrite $config (deepCopy .Values.config) | toYaml -}}
{{- end -}}
