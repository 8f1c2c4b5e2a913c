// Pins cert-manager, whose definitions check the example in docs/openbao.md.
// dev/tools reads them from this module, so that go.sum verifies them; nothing is built.
module vaultwall.dev/dev/cert-manager

go 1.26.0

require github.com/cert-manager/cert-manager v1.21.2
