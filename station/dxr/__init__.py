"""Digital X-ray radiogrammetry, usable without a station: `analysis.analyse`."""
