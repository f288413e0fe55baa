"""Everything that decodes footage, confined: probe, preview, contact sheet, fingerprint."""
