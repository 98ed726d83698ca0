"""The page that the server shows at `/`: its source, its built files, and how they are sent."""
