-- Steps that several scripts share.

-- The oldest time of an entry of the audit log that is still kept, in ms.
local function kept_since()
  return wall_ms() - AUDIT_MS
end
