"""The status page: what was counted in the last hour, drawn and written as one HTML document."""
