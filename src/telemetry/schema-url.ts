/** The version of OpenTelemetry's semantic conventions that the names of attributes are from. */
export const SCHEMA_URL = 'https://opentelemetry.io/schemas/1.45.0';
