"""What other systems read: HL7 v2 messages, their transport, FHIR bundles."""
