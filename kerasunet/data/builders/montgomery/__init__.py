"""Montgomery County, chest X-ray."""
