package settings

// Nexus is the settings of nexus.
type Nexus struct {
	// Port is where the server without a web server listens.
	Port uint16
	// Password is what nexus and all gateways share.
	Password string
	// Networks is the path of the network file.
	Networks string
	// StateDir is where addresses, leases and the key are.
	StateDir string
	// Certificate and CertificateKey are paths: with them the server speaks HTTPS.
	Certificate, CertificateKey string
}

// LoadNexus reads a file of settings. A file that others can read is refused.
func LoadNexus(path string) (*Nexus, error) { return load(path, ParseNexus) }

// ParseNexus reads the text of a file of settings. The error is of type Problems.
func ParseNexus(file, text string) (*Nexus, error) {
	n := &Nexus{Port: defaultPort}
	c := &collector{file: file}
	c.assign(text, []setting{
		{"port", false, setPort(&n.Port)},
		{"password", true, setPassword(&n.Password)},
		{"config_path", true, setPath(&n.Networks, file)},
		{"gw_addrs_path", true, setPath(&n.StateDir, file)},
		{"certificate_path", false, setPath(&n.Certificate, file)},
		{"certificate_key_path", false, setPath(&n.CertificateKey, file)},
	})
	if len(c.list) == 0 && (n.Certificate == "") != (n.CertificateKey == "") {
		c.add(0, "certificate_path and certificate_key_path belong together")
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	return n, nil
}
