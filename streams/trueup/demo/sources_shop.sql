-- What the shop's own people made: four tables with rows in them, before anybody heard of TrueUp. Safe to repeat.
-- How many rows: current_setting('demo.rows'), set by sources.py; the shares below and in sources_warehouse.sql are its sum.

DO $$ BEGIN
    CREATE TYPE customer_tier AS ENUM ('basic', 'silver', 'gold');
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;

DO $$ BEGIN
    CREATE TYPE order_status AS ENUM ('new', 'paid', 'packed', 'shipped', 'cancelled');
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;

CREATE TABLE IF NOT EXISTS public.customers (
    customer_id bigint PRIMARY KEY,
    email       text NOT NULL,
    full_name   text NOT NULL,
    country     text NOT NULL,
    tier        customer_tier NOT NULL,
    preferences jsonb NOT NULL,
    tags        text[] NOT NULL,
    notes       text,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL
);

CREATE TABLE IF NOT EXISTS public.orders (
    order_id      bigint PRIMARY KEY,
    customer_id   bigint NOT NULL,
    sku           text NOT NULL,
    quantity      int NOT NULL,
    amount        numeric(12,2) NOT NULL,
    currency      text NOT NULL,
    status        order_status NOT NULL,
    reference     uuid NOT NULL,
    change_reason text,
    placed_at     timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL
);

CREATE TABLE IF NOT EXISTS public.order_lines (
    order_id   bigint NOT NULL,
    line_no    int NOT NULL,
    sku        text NOT NULL,
    quantity   int NOT NULL,
    unit_price numeric(12,4) NOT NULL,
    attributes jsonb,
    PRIMARY KEY (order_id, line_no)
);

CREATE TABLE IF NOT EXISTS public.payments (
    payment_id uuid PRIMARY KEY,
    order_id   bigint NOT NULL,
    amount     numeric(12,2) NOT NULL,
    method     text NOT NULL,
    paid_at    timestamptz,
    raw        bytea,
    details    jsonb
);

-- A tenth of the rows. Every 25th customer has a note of 12,800 characters that does not compress: it is TOASTed.
INSERT INTO public.customers
SELECT n,
       'customer' || n || '@example.com',
       (ARRAY['Ada', 'Björn', 'Chloé', 'Dmitri', '恵子'])[n % 5 + 1] || ' ' || initcap(left(md5(n::text), 8)),
       (ARRAY['AT', 'BR', 'DE', 'JP', 'US'])[n % 5 + 1],
       (ARRAY['basic', 'silver', 'gold'])[n % 3 + 1]::customer_tier,
       jsonb_build_object('newsletter', n % 2 = 0, 'visits', n, 'theme', jsonb_build_object('dark', n % 7 = 0)),
       CASE WHEN n % 4 = 0 THEN '{}'::text[] ELSE ARRAY['since-' || 2000 + n % 25, 'a "quoted", tag'] END,
       CASE
           WHEN n % 25 = 0 THEN (SELECT string_agg(md5(n || '/' || part), '') FROM generate_series(1, 400) AS part)
           WHEN n % 2 = 0 THEN 'called on day ' || n
       END,
       timestamptz '2026-01-01 00:00:00+00' + n * interval '1 minute',
       timestamptz '2026-01-01 00:00:00+00' + n * interval '1 minute 0.001 second'
FROM generate_series(1, current_setting('demo.rows')::int / 10) AS n
ON CONFLICT DO NOTHING;

-- 24 of 100 rows.
INSERT INTO public.orders
SELECT n,
       n % (current_setting('demo.rows')::int / 10) + 1,
       'sku-' || n % (current_setting('demo.rows')::int / 25) + 1,
       n % 5 + 1,
       ((n * 7919) % 100000)::numeric / 100,
       (ARRAY['EUR', 'USD', 'JPY'])[n % 3 + 1],
       (ARRAY['new', 'paid', 'packed', 'shipped'])[n % 4 + 1]::order_status,
       md5('order/' || n)::uuid,
       CASE WHEN n % 10 = 0 THEN 'imported' END,
       timestamptz '2026-03-01 00:00:00+00' + n * interval '30 seconds',
       timestamptz '2026-03-01 00:00:00+00' + n * interval '30.000123 seconds'
FROM generate_series(1, current_setting('demo.rows')::int * 24 / 100) AS n
ON CONFLICT DO NOTHING;

-- 36 of 100 rows: one line for each order, two for every second one.
INSERT INTO public.order_lines
SELECT n,
       line,
       'sku-' || (n * line) % (current_setting('demo.rows')::int / 25) + 1,
       line,
       ((n * 104729) % 1000000)::numeric / 10000,
       CASE WHEN n % 3 = 0 THEN jsonb_build_object('gift', true, 'weight', n / 7.0) END
FROM generate_series(1, current_setting('demo.rows')::int * 24 / 100) AS n,
     generate_series(1, 1 + (n + 1) % 2) AS line
ON CONFLICT DO NOTHING;

-- 18 of 100 rows.
INSERT INTO public.payments
SELECT md5('payment/' || n)::uuid,
       n,
       ((n * 7919) % 100000)::numeric / 100,
       (ARRAY['card', 'transfer', 'voucher'])[n % 3 + 1],
       CASE WHEN n % 9 <> 0 THEN timestamptz '2026-03-01 00:00:00+00' + n * interval '31 seconds' END,
       decode(md5(n::text), 'hex'),
       jsonb_build_object('attempts', n % 3, 'note', E'tab\there, and a "quote"')
FROM generate_series(1, current_setting('demo.rows')::int * 18 / 100) AS n
ON CONFLICT DO NOTHING;
