"""Compare what two runs left: series, files, samples; say whether a result came back."""
