// What the server sends, as far as the page reads it.

export interface PageSession {
  owner: string;
  has_model: boolean;
  models: string[];
  tier: string;
  network: string | string[];
  limits: Record<string, number>;
  file_bytes: number;
}

export interface Usage {
  wall_s: number;
  cpu_user_s: number;
  cpu_system_s: number;
  peak_memory_bytes: number;
  written_bytes: number;
  processes: number;
  start_s: number;
}

export interface Denial {
  layer: string;
  tried: string;
  rule: string;
  hint?: string;
  line?: number | null;
  allow_with?: string;
  sentence?: string;
  count?: number;
}

export type Bundle = Record<string, string>;

export interface MadeFile {
  path: string;
  bytes: number;
  mime: string;
  file_id: string | null;
  not_kept: string | null;
}

interface Truncated {
  stdout: { dropped_bytes: number };
  stderr: { dropped_bytes: number };
}

/** What the page shows of a run beside its output. */
export interface More {
  displays: Bundle[];
  displays_dropped?: number;
  denials: Denial[];
  files?: MadeFile[];
  usage: Usage;
  truncated: Truncated;
  status: string;
  state: string;
  tier: string;
  layers: string[];
}

export interface Outcome extends Omit<More, "files"> {
  stdout: string;
  stderr: string;
  text: string | null;
  artifacts: { path: string; size_bytes: number; mime: string; change: string }[];
  error?: { type: string; message: string; traceback: string };
  limit?: string;
  allowed?: number;
  observed?: number;
  exit_code?: number | null;
  signal?: string | null;
  reason?: string;
  line?: number;
}

export interface Citation {
  type: string;
  container_id?: string;
  file_id?: string;
  filename?: string;
  url?: string;
  title?: string;
}

export interface Item {
  id: string;
  type: string;
  status?: string;
  role?: string;
  summary?: { text: string }[];
  content?: { type: string; text: string; annotations?: Citation[] }[];
  code?: string;
  container_id?: string;
  outputs?: { type: string; logs?: string; url?: string }[] | null;
  x_outcome?: More;
  action?: { query?: string; sources?: { url: string }[] };
  urls?: string[];
  output?: string;
}

export interface Conversation {
  id: string;
  created_at: number;
  metadata: Record<string, string>;
}

export interface Variable {
  name: string;
  type: string;
  shape?: unknown;
  size_bytes?: number | null;
  preview?: string;
}

export interface Point {
  id: number | string;
  name: string | null;
}
