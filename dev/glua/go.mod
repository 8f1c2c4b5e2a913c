// Pins the Lua interpreter of Argo CD, which runs the health check in docs/gitops.md.
// dev/tools builds it from here, so that go.sum verifies every module in it.
module vaultwall.dev/dev/glua

go 1.26.0

tool github.com/yuin/gopher-lua/cmd/glua

require (
	github.com/chzyer/readline v0.0.0-20180603132655-2972be24d48e // indirect
	github.com/yuin/gopher-lua v1.1.2 // indirect
	golang.org/x/sys v0.0.0-20190204203706-41f3e6584952 // indirect
)
