  //
  // sdeictl's lab: what firmware with SDEI publishes and QEMU does not.
  // ACPI 6.5, 5.2.9.4 (FADT, PSCI_COMPLIANT; QEMU leaves it out when EL3 is
  // there); Arm DEN0054, appendix E (the SDEI table is a header alone).
  //
  if (((EFI_ACPI_DESCRIPTION_HEADER *)(UINTN)PointerValue)->Signature == SIGNATURE_32 ('F', 'A', 'C', 'P')) {
    EFI_ACPI_DESCRIPTION_HEADER  Sdei;
    UINTN                        SdeiKey;

    ((UINT8 *)(UINTN)PointerValue)[129] |= BIT0;
    ZeroMem (&Sdei, sizeof (Sdei));
    Sdei.Signature = SIGNATURE_32 ('S', 'D', 'E', 'I');
    Sdei.Length    = sizeof (Sdei);
    Sdei.Revision  = 1;
    CopyMem (Sdei.OemId, "SDEICT", sizeof (Sdei.OemId));
    Sdei.OemTableId      = SIGNATURE_64 ('L', 'A', 'B', ' ', ' ', ' ', ' ', ' ');
    Sdei.OemRevision     = 1;
    Sdei.CreatorId       = SIGNATURE_32 ('L', 'A', 'B', ' ');
    Sdei.CreatorRevision = 1;
    AcpiProtocol->InstallAcpiTable (AcpiProtocol, &Sdei, sizeof (Sdei), &SdeiKey);
  }

