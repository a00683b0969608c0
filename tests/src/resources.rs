//! Two APIs that tokens can be for.

/// The URI of an MCP server.
pub const MCP: &str = "https://api.example.com/mcp";
/// The URI of an API whose tokens have an algorithm of their own.
pub const BILLING: &str = "https://billing.example.com";
/// Their settings.
pub const RESOURCES: &str = r#"
    [[resource]]
    uri = "https://api.example.com/mcp"
    name = "Scanner tools"
    apis = ["abcdef1234", "api.example.com"]
    scopes = ["scans:read", "scans:trigger"]
    default_scopes = ["scans:read"]

    [[resource]]
    uri = "https://billing.example.com"
    name = "Billing"
    apis = ["bbbbbb2222"]
    scopes = ["invoices:*"]
    algorithm = "RS256"
"#;
