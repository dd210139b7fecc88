"""The words of the OCI image and distribution specs: media types, digests, references."""
