"""Images behind URLs: requests that are bounded and tried again, objects listed and read whole or in part."""
